// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/identity.hpp"
#include "auth/order_book.hpp"
#include "auth/verifier.hpp"
#include "base/passed_time.hpp"

#include <map>
#include <set>
#include <unordered_set>

namespace troupe::auth {

/// Who may be what. A uid in neither set is a user if others are let in, else refused.
struct account_policy {
  std::set<std::uint32_t> admins;
  std::set<std::uint32_t> operators;
  bool others_allowed = false;
};

struct authority_options {
  account_policy accounts;
  std::int64_t login_life_ns = 3600 * ns_per_s;
  /// A request must end within this time, so that its id need not be remembered for longer.
  std::int64_t request_life_max_ns = 3600 * ns_per_s;
  std::int64_t warrant_life_ns = 365 * 86'400 * ns_per_s;
  /// Request ids remembered at once, of jobs and of steps. A full table forgets those of jobs that
  /// expire first: the ledger refuses them durably.
  std::size_t burned_max = 262'144;
};

/// What a login grants.
struct login_grant {
  std::vector<std::uint8_t> capability;
  account_role role = account_role::user;
  serial_number serial{};
  utc_ns expires = 0;
};

/// One signed request, with what the authority's side found in the bytes that came with it.
struct warrant_application {
  byte_view request;        ///< job_request.hpp
  byte_view seal;           ///< by the holder, domain troupe/request/v1
  digest spec_digest{};     ///< computed here from the submitted job as received
  digest exec_digest{};     ///< of the exec spec made from it
  element_summary elements; ///< as the submitted job has them
  ceilings most;
};

struct issued_warrant {
  std::uint64_t job = 0;
  request_id request{};
  std::vector<std::uint8_t> body;
  std::vector<std::uint8_t> seal;
};

/// A step of a running job, with what says that it was asked for.
struct step_application {
  warrant_application what; ///< of a spawn without request and seal
  byte_view job_warrant;
  byte_view job_seal;
  std::uint64_t job = 0; ///< that the step names
  std::uint32_t step = 0;
  std::uint32_t incarnation = 0;
};

/// One launch order to sign, with the warrant it must keep to.
struct order_application {
  byte_view order;
  byte_view warrant;
  byte_view warrant_seal;
};

/// Request ids by the minute in which they expire: what is over goes a minute at a time.
class request_table {
public:
  bool contains(const request_id& id, utc_ns not_after) const;
  void add(const request_id& id, utc_ns not_after);
  /// Forgets those that expired before then.
  void forget(utc_ns before);
  /// Forgets the minute that expires first.
  void forget_first();
  std::size_t size() const { return size_; }

private:
  std::map<utc_ns, std::unordered_set<request_id, bytes_hash>> minutes_;
  std::size_t size_ = 0;
};

/// What signs: the pure core of the authority's actor. It never blocks and touches no file; users
/// are resolved outside (identity.hpp). Not thread-safe, one owner.
class authority {
public:
  /// The signing key must be the keyring's active one; `keys` is in force in `verifier_` too.
  static expected<authority> make(authority_options options, key_pair signing,
                                  std::shared_ptr<verifier> checks, const clock_source& clock);

  /// Grants a capability (1 h) to a peer whose uid and gid the kernel told, held by `holder`; with
  /// no role named, the highest that the uid may have; for `life_max_ns` at most. Who calls is a
  /// gateway (session_open).
  checked<login_grant> login(std::uint32_t uid, std::uint32_t gid, const public_key& holder,
                             std::optional<account_role> wanted,
                             std::int64_t life_max_ns = capability_life_max_ns);

  /// A role's own capability, verified and admitted.
  checked<verified_capability> role_capability(actor_role role, std::uint32_t uid,
                                               std::uint32_t gid);

  /// Answers each application with a warrant or a refusal; one signature covers all of them. The
  /// request ids are burned by this; the ledger keeps them with the jobs, and refuses
  /// them after a restart, too.
  std::vector<checked<issued_warrant>> issue_warrants(const verified_capability& by,
                                                      const account& as,
                                                      std::span<const warrant_application> batch);

  /// A warrant for a step within its job's: asked for by the job's owner with a signed request,
  /// whose id is burned, or without one by the job itself, if its warrant lets it spawn.
  checked<issued_warrant> issue_step_warrant(const verified_capability& by,
                                             const step_application& step);

  /// A new warrant for a job that waits: the same in everything but what it may use at most. Only
  /// for a warrant that verifies, under a capability that may modify the job.
  checked<issued_warrant> amend_warrant(const verified_capability& by, byte_view body,
                                        byte_view seal, const ceilings& most);

  /// Signs all orders, or none: each is checked against its warrant, and against what was signed
  /// before. One seal per order, in their order.
  checked<std::vector<std::vector<std::uint8_t>>>
  sign_orders(const verified_capability& by, std::span<const order_application> batch);

  /// The job ended: what was signed for it is forgotten, and nothing more is signed for it.
  void forget_job(std::uint64_t job);
  /// Elements that a launcher confirmed as withdrawn before their start may be ordered again.
  void release_elements(std::uint64_t job, std::uint32_t incarnation, std::uint32_t step,
                        std::uint32_t node, std::uint32_t first, std::uint32_t last) {
    book_.release_elements(job, incarnation, step, node, first, last);
  }

  // What the ledger knows from before a restart.
  void seed_next_job(std::uint64_t next) { next_job_ = std::max(next_job_, next); }
  void seed_ended(std::uint64_t job) { end_job(job); }

  std::uint64_t next_job() const { return next_job_; }
  std::size_t burned() const { return burned_jobs_.size() + burned_steps_.size(); }
  std::size_t order_intervals() const { return book_.intervals(); }
  const signing_key key() const { return {key_id_, &signing_}; }
  verifier& checks() { return *verifier_; }

private:
  authority(authority_options options, key_pair signing, std::uint32_t key_id,
            std::shared_ptr<verifier> checks, const clock_source& clock);

  checked<account_role> role_for(std::uint32_t uid, std::optional<account_role> wanted) const;
  checked<job_request> check_application(const verified_capability& by,
                                         const warrant_application& what, utc_ns now);
  checked<void> check_request_time(const job_request& request, utc_ns now) const;
  checked<warrant> make_step_warrant(const verified_capability& by, const step_application& step,
                                     utc_ns now);
  /// Remembered by whoever keeps jobs, too, or here alone.
  enum class request_kind { job, step };
  checked<void> burn(const job_request& request, request_kind kind, utc_ns now);
  warrant make_warrant(const verified_capability& by, const account& as, const job_request& request,
                       const warrant_application& what, utc_ns now);
  checked<order_view> check_order(const verified_capability& by, const order_application& what);
  void end_job(std::uint64_t job);
  bool ended(std::uint64_t job) const;

  authority_options options_;
  key_pair signing_;
  std::uint32_t key_id_;
  std::shared_ptr<verifier> verifier_;
  const clock_source* clock_;
  passed_time passed_; ///< for what ends by wall time: a clock that ran ahead ends no warrant
  order_book book_;
  std::uint64_t next_job_ = 1;
  request_table burned_jobs_;
  request_table burned_steps_;
  std::map<std::uint64_t, std::uint64_t> ended_; ///< inclusive ranges of ended jobs
};

/// The rules between an order and its warrant; a refusal names the first one broken. Pure.
checked<void> check_order_against_warrant(const order_view& order, const warrant& allowed);

} // namespace troupe::auth
