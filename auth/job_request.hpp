// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/capability.hpp"
#include "auth/order_view.hpp"

namespace troupe::auth {

using request_id = fixed_bytes<16>;

/// The most elements an array may have, and one more than its highest index.
inline constexpr std::uint32_t elements_max = 1'000'000;
inline constexpr std::uint32_t incarnations_limit = 1'000;

/// Which elements were asked for: how many, and between which indexes. A job that is no array has
/// count 1 and no_element twice.
struct element_summary {
  std::uint32_t count = 1;
  std::uint32_t first = no_element;
  std::uint32_t last = no_element;

  bool operator==(const element_summary&) const = default;
  bool valid() const {
    if (first == no_element || last == no_element)
      return first == last && count == 1;
    return count >= 1 && first <= last && last < elements_max && count <= last - first + 1;
  }
};

/// What a client's key says it asks for; the body sealed under domain troupe/request/v1 with the
/// holder's key. It names the whole submitted job by digest.
///
///   0 version=1 · 1 flags (bit 0: may spawn) · 2 reserved u16=0 · 4 uid u32 · 8 cluster[16]
///   24 request_id[16] · 40 spec_digest[32] · 72 element count, first, last u32 · 84
///   incarnations_max u32 (1..1000) · 88 not_before i64 · 96 not_after i64 (UTC ns) · end 104
struct job_request {
  cluster_id cluster{};
  request_id id{};
  std::uint32_t uid = 0;
  digest spec_digest{};
  element_summary elements;
  std::uint32_t incarnations_max = 1; ///< incarnations count from 1
  bool may_spawn = false;
  utc_ns not_before = 0;
  utc_ns not_after = 0;

  bool operator==(const job_request&) const = default;
};

inline constexpr std::size_t job_request_size = 104;

fixed_bytes<job_request_size> encode(const job_request& from);
/// Refuses any other length, version, value or set reserved bit.
checked<job_request> decode_job_request(byte_view bytes);

} // namespace troupe::auth
