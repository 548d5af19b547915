// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace troupe::auth {

/// What a capability may allow, one bit each. An `_any` verb acts on everyone's jobs; the verb
/// without it needs the job's owner to be the subject. Bits are permanent: never renumbered.
enum class verb : std::uint64_t {
  job_submit = 1ull << 0,
  job_read = 1ull << 1,
  job_read_any = 1ull << 2,
  job_cancel = 1ull << 3,
  job_cancel_any = 1ull << 4,
  job_hold = 1ull << 5, ///< also release
  job_hold_any = 1ull << 6,
  job_signal = 1ull << 7,
  job_signal_any = 1ull << 8,
  job_modify = 1ull << 9,
  job_modify_any = 1ull << 10,
  queue_read = 1ull << 11,
  node_read = 1ull << 12,
  node_write = 1ull << 13, ///< drain, resume
  history_read = 1ull << 14,
  history_read_any = 1ull << 15,
  console_read = 1ull << 16,
  audit_read = 1ull << 17,
  keys_read = 1ull << 18,
  capability_revoke = 1ull << 19,
  cluster_stop = 1ull << 20,
  reservation_write = 1ull << 21,
  config_write = 1ull << 22,
  ledger_keep = 1ull << 23, ///< check and copy it

  // Between the roles; never granted to people.
  session_open = 1ull << 40, ///< a gateway asks the authority for a client's capability
  ledger_write = 1ull << 41,
  ledger_read = 1ull << 42,
  plan_decide = 1ull << 43,
  job_start = 1ull << 44,
  order_sign = 1ull << 45,
  node_launch = 1ull << 46,
  node_report = 1ull << 47,
  observe = 1ull << 48,
  supervise = 1ull << 49,
  step_speak = 1ull << 50, ///< what a job's shepherds say: fences, events, spawns
};

/// A set of verbs: the u64 of the capability's layout.
class verb_set {
public:
  constexpr verb_set() = default;
  constexpr explicit verb_set(std::uint64_t bits) : bits_{bits} {}
  constexpr verb_set(std::initializer_list<verb> verbs) {
    for (auto each : verbs)
      bits_ |= static_cast<std::uint64_t>(each);
  }

  constexpr std::uint64_t bits() const { return bits_; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool has(verb which) const { return (bits_ & static_cast<std::uint64_t>(which)) != 0; }
  /// Whether everything in `other` is in this set.
  constexpr bool covers(verb_set other) const { return (other.bits_ & ~bits_) == 0; }
  constexpr verb_set operator|(verb_set other) const { return verb_set{bits_ | other.bits_}; }
  constexpr verb_set operator&(verb_set other) const { return verb_set{bits_ & other.bits_}; }
  constexpr bool operator==(const verb_set&) const = default;

private:
  std::uint64_t bits_ = 0;
};

/// Every verb that is defined; other bits are reserved and must be zero.
extern const verb_set all_verbs;

/// The verb's name, as `cap show` prints it.
std::string_view to_string(verb which);
/// A verb and what it allows, for people.
struct verb_listing {
  verb which;
  std::string_view name;
  std::string_view allows;
};
/// All verbs in bit order.
std::span<const verb_listing> list_verbs();
std::optional<verb> parse_verb(std::string_view name);
/// The names in a set, separated by one space.
std::string to_string(verb_set verbs);

/// What people may be.
enum class account_role : std::uint8_t { user = 1, operator_ = 2, admin = 3 };
/// What the parts of the system may be.
enum class actor_role : std::uint8_t {
  gateway = 1,
  scheduler,
  planner,
  job,
  node,
  agent,
  launcher,
  ledger,
  observer,
  cluster,
  authority,
};
inline constexpr std::uint8_t actor_role_last = static_cast<std::uint8_t>(actor_role::authority);

std::string_view to_string(account_role role);
std::string_view to_string(actor_role role);
std::optional<account_role> parse_account_role(std::string_view name);

/// What each role may do: fixed here, nowhere configurable.
verb_set verbs_of(account_role role);
verb_set verbs_of(actor_role role);
/// What work under a warrant may do, always bound to the warrant's job.
verb_set warrant_verbs();
/// Those of them that start nothing: a revoked job needs them to come to its end.
verb_set winding_down_verbs();

} // namespace troupe::auth
