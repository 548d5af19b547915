// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/ed25519.hpp"
#include "auth/keys.hpp"
#include "auth/reason.hpp"
#include "auth/verbs.hpp"
#include "base/clock.hpp"

#include <optional>
#include <string>
#include <vector>

namespace troupe::auth {

using serial_number = fixed_bytes<16>;

/// Who acts.
enum class subject_kind : std::uint8_t { user = 1, role = 2, job = 3, node = 4 };

const char* to_string(subject_kind kind);

/// Who acts, and as which user. `role` is an account_role for a user, an actor_role for a role, and
/// 0 for a job or node: it names the verb table that was granted, for people to read.
struct subject {
  subject_kind kind = subject_kind::user;
  std::uint8_t role = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;

  bool operator==(const subject&) const = default;
};

enum class resource_kind : std::uint8_t { any = 0, jobs = 1, nodes = 2 };

/// What may be acted on: everything, or the inclusive range [lo, hi] of job or node numbers.
struct resource {
  resource_kind kind = resource_kind::any;
  std::uint64_t lo = 0;
  std::uint64_t hi = UINT64_MAX; ///< `any` is always the full range

  bool operator==(const resource&) const = default;
  bool contains(resource_kind of, std::uint64_t id) const {
    return kind == resource_kind::any || (kind == of && lo <= id && id <= hi);
  }
};

/// The job (0 = any) and incarnation (0 = any; only with a job) the capability is tied to.
struct job_bound {
  std::uint64_t job = 0;
  std::uint32_t incarnation = 0;

  bool operator==(const job_bound&) const = default;
};

/// The process a capability is meant for: 1 to 16 characters of [a-z0-9.:-], such as "controller".
class audience {
public:
  audience() = default;
  static std::optional<audience> parse(std::string_view name);
  /// From the 16 bytes of the layout: zero-padded, nothing after the first zero.
  static std::optional<audience> decode(const std::uint8_t* bytes);
  std::string_view name() const;
  const fixed_bytes<16>& bytes() const { return bytes_; }
  bool operator==(const audience&) const = default;

private:
  fixed_bytes<16> bytes_{};
};

/// The fields of a capability and of a delegation. Times are UTC ns; valid in [not_before,
/// expires).
struct capability {
  std::uint32_t key_id =
      0; ///< the authority's signing key; 0 in a delegation (its parent's holder)
  cluster_id cluster{};
  serial_number serial{};
  subject who;
  public_key holder{};
  audience meant_for;
  verb_set verbs;
  resource on;
  job_bound bound;
  utc_ns not_before = 0;
  utc_ns expires = 0;
  std::uint8_t depth_left = 0; ///< how many further delegations are allowed: 0 or 1

  bool operator==(const capability&) const = default;
};

/// The body's layout: little-endian, fixed, no gaps but the reserved word.
namespace capability_layout {
inline constexpr std::size_t version = 0;      ///< u8 = 1
inline constexpr std::size_t subject_kind = 1; ///< u8
inline constexpr std::size_t subject_role = 2; ///< u8
inline constexpr std::size_t depth_left = 3;   ///< u8
inline constexpr std::size_t key_id = 4;       ///< u32
inline constexpr std::size_t cluster = 8;      ///< [16]
inline constexpr std::size_t serial = 24;      ///< [16]
inline constexpr std::size_t uid = 40;         ///< u32
inline constexpr std::size_t gid = 44;         ///< u32
inline constexpr std::size_t holder = 48;      ///< [32]
inline constexpr std::size_t audience = 80;    ///< [16]
inline constexpr std::size_t verbs = 96;       ///< u64
inline constexpr std::size_t resource_lo = 104;
inline constexpr std::size_t resource_hi = 112;
inline constexpr std::size_t bound_job = 120;
inline constexpr std::size_t bound_incarnation = 128; ///< u32
inline constexpr std::size_t resource_kind = 132;     ///< u8
inline constexpr std::size_t reserved = 133;          ///< [3] = 0
inline constexpr std::size_t not_before = 136;        ///< i64
inline constexpr std::size_t expires = 144;           ///< i64
inline constexpr std::size_t body_size = 152;
} // namespace capability_layout

inline constexpr std::size_t capability_size = capability_layout::body_size + 64;
/// A delegation: its parent's digest [32], a body, a signature.
inline constexpr std::size_t delegation_size = 32 + capability_layout::body_size + 64;
inline constexpr std::uint8_t depth_max = 1;

/// The longest life of any capability.
inline constexpr std::int64_t capability_life_max_ns = 400 * 86'400 * ns_per_s;

/// The body's bytes. `decode_body(encode_body(x)) == x` for every x that decode_body accepts.
fixed_bytes<capability_layout::body_size> encode_body(const capability& from);
/// Refuses any other length, version, value or set reserved bit.
checked<capability> decode_body(byte_view bytes);

/// What signs capabilities, keyrings' active key: the number under which verifiers know it.
struct signing_key {
  std::uint32_t key_id = 0;
  const key_pair* pair = nullptr;
};

/// Signs a capability with the authority's key; sets its key_id.
std::vector<std::uint8_t> issue_capability(const signing_key& key, capability from);

/// A chain as it is presented: a capability's bytes, alone or followed by one delegation's.
struct chain_view {
  byte_view parent;     ///< capability_size bytes
  byte_view delegation; ///< delegation_size bytes, or empty
};
/// Splits by exact length; anything else is refused.
checked<chain_view> split_chain(byte_view chain);
/// Names a chain in proofs and caches.
digest chain_digest(byte_view chain);
/// Names a parent inside its delegations.
digest capability_digest(byte_view capability);

/// The narrower of both in every dimension; refused when nothing is left, when audience, cluster or
/// subject differ, or when the parent may not be delegated. Never wider than either.
checked<capability> intersect(const capability& parent, const capability& child);

/// Which dimension of `child` claims more than `parent` has; empty if none does.
std::string_view wider_dimension(const capability& parent, const capability& child);

/// Makes a chain: `parent` is a capability's bytes, `child` the narrower fields with the new
/// holder's key, `holder` the parent's holder. Refused if child is wider in any dimension.
checked<std::vector<std::uint8_t>> delegate(byte_view parent, const key_pair& holder,
                                            capability child);

/// One line per field, for `cap inspect`.
std::string describe(const capability& what);

} // namespace troupe::auth
