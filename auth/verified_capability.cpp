// SPDX-License-Identifier: Apache-2.0
#include "auth/verifier.hpp"

namespace troupe::auth {

namespace {

const capability& nothing() {
  static const capability none = [] {
    capability empty;
    empty.who.uid = UINT32_MAX; // no user: own verbs never match
    return empty;
  }();
  return none;
}

} // namespace

const capability& verified_capability::fields() const {
  return facts_ ? facts_->effective : nothing();
}

bool verified_capability::current(boot_time now) const {
  const auto& it = *facts_;
  return now < it.valid_until &&
         it.clean_epoch.load(std::memory_order_relaxed) == it.revocations->epoch();
}

checked<void> verified_capability::check(verb_set any_of, boot_time now) const {
  if (facts_ && !(facts_->effective.verbs & any_of).empty() && current(now)) [[likely]]
    return {};
  return explain(any_of, now);
}

// The slow path: looks into the revocation tables, and says what is wrong.
checked<void> verified_capability::explain(verb_set any_of, boot_time now) const {
  if (!facts_)
    return refuse(reason::holder_unproven, "this came without a capability; log in first");
  const auto& it = *facts_;
  if ((it.effective.verbs & any_of).empty())
    return refuse(reason::missing_verb, "the capability does not allow " + to_string(any_of) +
                                            "; it allows: " + to_string(it.effective.verbs));
  if (!(it.winding_down & it.effective.verbs & any_of).empty())
    return {};
  if (now >= it.valid_until)
    return refuse(reason::expired, "the capability expired " +
                                       std::to_string((now - it.valid_until) / ns_per_s) +
                                       " s ago; log in again");
  std::uint64_t seen = 0;
  if (auto by = it.revocations->find(it.handles, seen); !by.empty())
    return refuse(reason::revoked, "the capability was revoked (by its " + std::string{by} +
                                       "); ask an administrator");
  it.clean_epoch.store(seen, std::memory_order_relaxed);
  return {};
}

bool verified_capability::covers(resource_kind kind, std::uint64_t id) const {
  if (!facts_ || !facts_->effective.on.contains(kind, id))
    return false;
  const auto& bound = facts_->effective.bound;
  return kind != resource_kind::jobs || bound.job == 0 || bound.job == id;
}

checked<void> verified_capability::check_on(verb which, resource_kind kind, std::uint64_t id,
                                            boot_time now) const {
  if (auto allowed = check(which, now); !allowed)
    return allowed;
  if (covers(kind, id))
    return {};
  return refuse(reason::outside_resource, std::string{"the capability does not cover "} +
                                              (kind == resource_kind::nodes ? "node " : "job ") +
                                              std::to_string(id));
}

checked<void> verified_capability::permits(verb own, verb any, std::uint32_t owner_uid,
                                           std::uint64_t job, boot_time now) const {
  if (auto allowed = check(verb_set{own, any}, now); !allowed)
    return allowed;
  const auto& it = facts_->effective;
  // A role's or node's uid is the system's own: it owns no jobs.
  bool personal = it.who.kind == subject_kind::user || it.who.kind == subject_kind::job;
  bool owner = personal && it.who.uid == owner_uid;
  bool by_any = own != any && it.verbs.has(any);
  if (!by_any && !(owner && it.verbs.has(own)))
    return refuse(reason::not_owner,
                  "job " + std::to_string(job) + " belongs to uid " + std::to_string(owner_uid) +
                      ", and the capability allows " + std::string{to_string(own)} +
                      " on own jobs only (uid " + std::to_string(it.who.uid) + ")");
  if (!covers(resource_kind::jobs, job))
    return refuse(reason::outside_resource,
                  "the capability does not cover job " + std::to_string(job));
  return {};
}

} // namespace troupe::auth
