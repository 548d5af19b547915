// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/capability.hpp"

#include <atomic>
#include <shared_mutex>
#include <unordered_map>
#include <unordered_set>

namespace troupe::auth {

/// Hashes keys, serials and digests by their first bytes: these are random already.
struct bytes_hash {
  template <std::size_t N>
  std::size_t operator()(const fixed_bytes<N>& bytes) const {
    std::size_t value = 0;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
};

/// How many of each kind may be revoked at once; beyond it, revoke by something coarser (a uid
/// instead of serials, a key instead of uids).
inline constexpr std::size_t revocations_max = 65'536;

/// Without an announcement of the epoch for this long nothing new is accepted.
inline constexpr std::int64_t epoch_silence_max_ns = 15 * ns_per_s;

/// What a capability can be revoked by.
struct revocable {
  subject who;
  std::uint32_t key_id = 0;
  std::uint64_t job = 0; ///< the job it is bound to, 0 if none
  serial_number serial{};
  serial_number parent_serial{}; ///< equal to serial if it was not delegated
  public_key holder{};
  public_key parent_holder{};
};

/// What was revoked so far. Thread-safe. The epoch rises with every change; who remembers the epoch
/// at which it was last found clean need not look again until it rises.
class revocation_state {
public:
  /// With `epochs_required` false (a single process, where revocations need no link) silence never
  /// counts as stale.
  explicit revocation_state(bool epochs_required = false) : epochs_required_{epochs_required} {}

  std::uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  /// Each returns the new epoch; `exhausted` when its table is full. `until` (UTC ns) lets the
  /// entry go when every capability it could mean has expired anyway.
  expected<std::uint64_t> revoke_serial(const serial_number& serial, utc_ns until, utc_ns now);
  expected<std::uint64_t> revoke_holder(const public_key& holder);
  expected<std::uint64_t> revoke_uid(std::uint32_t uid);
  expected<std::uint64_t> revoke_job(std::uint64_t job);
  expected<std::uint64_t> revoke_key(std::uint32_t key_id);
  /// Lets a uid act again: capabilities from before, if unexpired, too.
  std::uint64_t restore_uid(std::uint32_t uid);
  /// Forgets a job that ended: its number is never reused and its warrant is not honoured anyway.
  void forget_job(std::uint64_t job);

  bool uid_revoked(std::uint32_t uid) const;
  bool job_revoked(std::uint64_t job) const;

  /// What `it` was revoked by ("uid", "serial", …), empty if it was not; `seen` becomes the epoch
  /// this answer is true for.
  std::string_view find(const revocable& it, std::uint64_t& seen) const;

  /// Everything as lines of text, for a file that outlives the process.
  std::string to_text() const;
  /// Takes what `to_text` wrote in place of what is known. Refuses, changing nothing, what is not
  /// exactly of that form: a revocation must not be lost by a damaged file.
  expected<void> restore(std::string_view text);

  /// The epoch was announced by its source at `now` (boot ns).
  void heard(boot_ns now) { heard_.store(now, std::memory_order_relaxed); }
  /// Refuses with reason no_epochs when the last announcement is over 15 s old at `now` (boot ns).
  /// Reads, cancels and running jobs do not ask.
  checked<void> accepts_new(boot_ns now) const;

private:
  template <class Set, class Key>
  expected<std::uint64_t> insert(Set& set, const Key& key, const char* what);
  std::uint64_t raise() { return epoch_.fetch_add(1, std::memory_order_acq_rel) + 1; }

  const bool epochs_required_;
  std::atomic<std::uint64_t> epoch_{1};
  std::atomic<boot_ns> heard_{0};
  mutable std::shared_mutex mutex_;
  std::unordered_map<serial_number, utc_ns, bytes_hash> serials_;
  std::unordered_set<public_key, bytes_hash> holders_;
  std::unordered_set<std::uint32_t> uids_;
  std::unordered_set<std::uint64_t> jobs_;
  std::unordered_set<std::uint32_t> keys_;
};

} // namespace troupe::auth
