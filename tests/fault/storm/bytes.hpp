// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

// Bytes that a seed gives, and a hash by which they are known again: what a stream carries is
// checked byte for byte without keeping it.

namespace troupe::storm {

/// xorshift64*: the same bytes for the same seed.
class byte_source {
public:
  explicit byte_source(unsigned seed) : state_{seed * 0x9e3779b97f4a7c15ULL + 1} {}
  void fill(char* to, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i)
      to[i] = next();
  }

private:
  char next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<char>((state_ * 0x2545f4914f6cdd1dULL) >> 56);
  }
  std::uint64_t state_;
};

/// FNV-1a and the length.
class byte_hash {
public:
  void add(const char* bytes, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i)
      hash_ = (hash_ ^ static_cast<unsigned char>(bytes[i])) * 0x100000001b3ULL;
    size_ += size;
  }
  std::string text() const {
    return std::to_string(size_) + " bytes, hash " + std::to_string(hash_);
  }

private:
  std::uint64_t hash_ = 0xcbf29ce484222325ULL;
  std::size_t size_ = 0;
};

/// What `size` bytes of that seed come to.
inline std::string text_of_bytes(unsigned seed, std::size_t size) {
  byte_source from{seed};
  byte_hash hash;
  char one = 0;
  for (std::size_t i = 0; i < size; ++i) {
    from.fill(&one, 1);
    hash.add(&one, 1);
  }
  return hash.text();
}

} // namespace troupe::storm
