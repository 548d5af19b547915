// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <sodium.h>
#include <span>
#include <utility>

namespace troupe::auth {

/// Makes libsodium usable; every entry point of auth that may run first calls it. Idempotent.
/// Without a working random source nothing here may go on, hence the exception.
inline void require_sodium() {
  if (::sodium_init() < 0)
    throw std::bad_alloc{};
}

/// N bytes of key material: guarded pages, locked into memory as far as RLIMIT_MEMLOCK allows,
/// left out of core dumps, zeroed when it goes. Moves, never copies.
template <std::size_t N>
class secret_bytes {
public:
  secret_bytes() {
    require_sodium();
    data_ = static_cast<std::uint8_t*>(::sodium_malloc(N));
    if (data_ == nullptr)
      throw std::bad_alloc{};
    ::sodium_memzero(data_, N);
  }
  secret_bytes(secret_bytes&& other) noexcept : data_{std::exchange(other.data_, nullptr)} {}
  secret_bytes& operator=(secret_bytes&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  secret_bytes(const secret_bytes&) = delete;
  secret_bytes& operator=(const secret_bytes&) = delete;
  ~secret_bytes() { ::sodium_free(data_); } // zeroes first

  std::uint8_t* data() { return data_; }
  const std::uint8_t* data() const { return data_; }
  static constexpr std::size_t size() { return N; }
  std::span<const std::uint8_t, N> view() const {
    return std::span<const std::uint8_t, N>{data_, N};
  }

private:
  std::uint8_t* data_ = nullptr;
};

} // namespace troupe::auth
