// SPDX-License-Identifier: Apache-2.0
#include "auth/revocation.hpp"

#include <mutex>

namespace troupe::auth {

namespace {

tl::unexpected<error> table_full(const char* what) {
  return fail(errc::exhausted, std::string{"the table of revoked "} + what + " is full (" +
                                   std::to_string(revocations_max) +
                                   "); revoke something coarser, such as the uid or the key");
}

} // namespace

// Every change happens before the epoch rises, both under the lock: who sees the new epoch sees the
// change, and who looks under the shared lock gets an epoch that fits what it saw.

template <class Set, class Key>
expected<std::uint64_t> revocation_state::insert(Set& set, const Key& key, const char* what) {
  std::unique_lock lock{mutex_};
  if (set.size() >= revocations_max && set.find(key) == set.end())
    return table_full(what);
  set.insert(key);
  return raise();
}

expected<std::uint64_t> revocation_state::revoke_serial(const serial_number& serial, utc_ns until,
                                                        utc_ns now) {
  std::unique_lock lock{mutex_};
  if (serials_.size() >= revocations_max)
    std::erase_if(serials_, [now](const auto& entry) { return entry.second < now; });
  if (serials_.size() >= revocations_max && !serials_.contains(serial))
    return table_full("serials");
  serials_[serial] = until;
  return raise();
}

expected<std::uint64_t> revocation_state::revoke_holder(const public_key& holder) {
  return insert(holders_, holder, "holders");
}

expected<std::uint64_t> revocation_state::revoke_uid(std::uint32_t uid) {
  return insert(uids_, uid, "uids");
}

expected<std::uint64_t> revocation_state::revoke_job(std::uint64_t job) {
  return insert(jobs_, job, "jobs");
}

expected<std::uint64_t> revocation_state::revoke_key(std::uint32_t key_id) {
  return insert(keys_, key_id, "keys");
}

std::uint64_t revocation_state::restore_uid(std::uint32_t uid) {
  std::unique_lock lock{mutex_};
  uids_.erase(uid);
  return raise();
}

void revocation_state::forget_job(std::uint64_t job) {
  std::unique_lock lock{mutex_};
  jobs_.erase(job); // no epoch: nothing that was clean becomes anything else
}

bool revocation_state::uid_revoked(std::uint32_t uid) const {
  std::shared_lock lock{mutex_};
  return uids_.contains(uid);
}

bool revocation_state::job_revoked(std::uint64_t job) const {
  std::shared_lock lock{mutex_};
  return jobs_.contains(job);
}

std::string_view revocation_state::find(const revocable& it, std::uint64_t& seen) const {
  std::shared_lock lock{mutex_};
  seen = epoch();
  if (it.key_id != 0 && keys_.contains(it.key_id))
    return "signing key";
  // A role runs under the system's own uid; revoking a person's uid must not stop the cluster.
  bool personal = it.who.kind == subject_kind::user || it.who.kind == subject_kind::job;
  if (personal && uids_.contains(it.who.uid))
    return "uid";
  if (it.job != 0 && jobs_.contains(it.job))
    return "job";
  if (serials_.contains(it.serial) || serials_.contains(it.parent_serial))
    return "serial";
  if (holders_.contains(it.holder) || holders_.contains(it.parent_holder))
    return "holder";
  return {};
}

checked<void> revocation_state::accepts_new(boot_ns now) const {
  auto last = heard_.load(std::memory_order_relaxed);
  if (!epochs_required_ || now - last <= epoch_silence_max_ns)
    return {};
  return refuse(reason::no_epochs,
                "no revocation epoch was heard for " + std::to_string((now - last) / ns_per_s) +
                    " s (limit 15 s): nothing new is accepted until the authority answers again");
}

} // namespace troupe::auth
