// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

// Bounded reading of fixed little-endian layouts. Freestanding: no allocation, no exceptions, no
// run time of the C++ library; shared by the launcher and by everything else, so that there is one
// parser for each format.

namespace troupe::auth {

/// Why bytes were not accepted: a sentence, or nothing when they were. Points to static text.
struct [[nodiscard]] problem {
  const char* text = nullptr;
  explicit operator bool() const { return text != nullptr; }
};

/// Reads fields one after another and never past the end. After the first short read everything
/// reads as zero and `failed()` stays true, so that callers check once, before they use a value.
class byte_reader {
public:
  explicit byte_reader(byte_view bytes) : at_{bytes.data()}, left_{bytes.size()} {}

  template <class T>
  T take() {
    if (left_ < sizeof(T)) {
      fail();
      return T{};
    }
    auto value = load_le<T>(at_);
    skip(sizeof(T));
    return value;
  }

  byte_view take_bytes(std::size_t size) {
    if (left_ < size) {
      fail();
      return {};
    }
    byte_view taken{at_, size};
    skip(size);
    return taken;
  }

  /// Bytes behind a length of type Length.
  template <class Length>
  byte_view take_prefixed() {
    auto length = take<Length>();
    return take_bytes(length);
  }

  bool failed() const { return failed_; }
  bool at_end() const { return !failed_ && left_ == 0; }
  std::size_t left() const { return left_; }
  const std::uint8_t* position() const { return at_; }

private:
  void skip(std::size_t size) {
    at_ += size;
    left_ -= size;
  }
  void fail() {
    failed_ = true;
    left_ = 0;
  }

  const std::uint8_t* at_;
  std::size_t left_;
  bool failed_ = false;
};

inline bool same_bytes(byte_view a, byte_view b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

inline bool has_nul(byte_view bytes) {
  return !bytes.empty() && std::memchr(bytes.data(), 0, bytes.size()) != nullptr;
}

} // namespace troupe::auth
