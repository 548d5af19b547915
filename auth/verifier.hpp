// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/keyring.hpp"
#include "auth/revocation.hpp"
#include "auth/seal_view.hpp"
#include "auth/warrant.hpp"

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>

namespace troupe::auth {

using nonce = fixed_bytes<32>;

/// What a connection's holder answers to the server's nonce: a signature by the holder key over
/// server nonce ‖ client nonce ‖ audience ‖ chain digest, in domain troupe/proof/v1.
struct holder_proof {
  nonce server_nonce{};
  nonce client_nonce{};
  signature sig{};
};

/// Makes the proof; draws the client's nonce.
holder_proof prove_holding(const key_pair& holder, const nonce& server_nonce,
                           const audience& meant_for, byte_view chain);

/// The machine's clocks as of the last tick (1–4 ms old): what guards read on every message. Linux
/// has no coarse boot clock: how long the machine was suspended is looked up each second.
class coarse_clock_source final : public clock_source {
public:
  utc_ns utc() const override { return of(CLOCK_REALTIME_COARSE); }
  boot_ns boot() const override { return of(CLOCK_BOOTTIME); }
  boot_time now() const override {
    const auto awake = of(CLOCK_MONOTONIC_COARSE);
    if (awake >= look_again_.load(std::memory_order_relaxed)) [[unlikely]]
      look(awake);
    return boot_time{awake + suspended_.load(std::memory_order_relaxed)};
  }

private:
  static std::int64_t of(clockid_t id) {
    timespec now{};
    ::clock_gettime(id, &now);
    return std::int64_t{now.tv_sec} * ns_per_s + now.tv_nsec;
  }
  void look(std::int64_t awake) const {
    suspended_.store(of(CLOCK_BOOTTIME) - of(CLOCK_MONOTONIC), std::memory_order_relaxed);
    look_again_.store(awake + ns_per_s, std::memory_order_relaxed);
  }

  mutable std::atomic<std::int64_t> look_again_{0};
  mutable std::atomic<std::int64_t> suspended_{0};
};

/// A capability as it counts inside this process: verified, its holder proven. Only the verifier
/// makes one that allows anything, nothing serialises it; copying shares one small record. What it
/// allows is asked when a message is handled, so that time and revocation are looked at then. Wall
/// time counts once, when it is admitted: from then on its life is measured by the boot clock, so
/// that setting the clock neither ends nor prolongs it.
class verified_capability {
public:
  /// Allows nothing; what a message has before anybody gave it a capability.
  verified_capability() = default;

  explicit operator bool() const { return facts_ != nullptr; }

  /// May the subject do `which` now? Verb, time and revocation; tens of nanoseconds unless
  /// something was revoked since the last time.
  checked<void> check(verb which, boot_time now) const { return check(verb_set{which}, now); }
  /// The same for any one of several verbs.
  checked<void> check(verb_set any_of, boot_time now) const;
  /// `check`, and the job or node must be one that the capability covers.
  checked<void> check_on(verb which, resource_kind kind, std::uint64_t id, boot_time now) const;
  /// May the subject act on a job of `owner_uid`? `any` allows it on everyone's, `own` on the
  /// subject's; the job must be one that the capability covers.
  checked<void> permits(verb own, verb any, std::uint32_t owner_uid, std::uint64_t job,
                        boot_time now) const;

  /// Whether it reaches this job or node: its resource, and for jobs the job it is bound to.
  bool covers(resource_kind kind, std::uint64_t id) const;

  // Of an empty one these are a default capability's: no verbs, subject uid 2^32−1.
  const capability& fields() const;
  const subject& who() const { return fields().who; }
  verb_set verbs() const { return fields().verbs; }
  const resource& on() const { return fields().on; }
  const job_bound& bound() const { return fields().bound; }
  utc_ns not_before() const { return fields().not_before; }
  utc_ns expires() const { return fields().expires; }
  const serial_number& serial() const { return fields().serial; }
  const public_key& holder() const { return fields().holder; }

private:
  friend class verifier;

  struct facts {
    capability effective; ///< the chain's intersection
    revocable handles;
    verb_set winding_down; ///< stay allowed when it was revoked or its time is over
    boot_time valid_until = boot_time::never(); ///< with the tolerated skew
    std::shared_ptr<const revocation_state> revocations;
    mutable std::atomic<std::uint64_t> clean_epoch{0}; ///< not revoked as of this epoch
  };

  explicit verified_capability(std::shared_ptr<const facts> known) : facts_{std::move(known)} {}
  bool current(boot_time now) const;
  checked<void> explain(verb_set any_of, boot_time now) const;

  std::shared_ptr<const facts> facts_;
};

/// What a verifier stands for and how far it trusts.
struct verifier_options {
  cluster_id cluster{};
  audience meant_for;                       ///< capabilities for another audience are refused
  std::int64_t skew_ns = 5 * ns_per_s;      ///< clocks may differ by this
  std::size_t chains_cached_max = 1024;     ///< verified chains remembered
  std::size_t warrants_cached_max = 65'536; ///< verified warrants remembered
  std::size_t nonces_max = 4096;            ///< challenges open at once; the oldest go first
  std::int64_t nonce_life_ns = 30 * ns_per_s;
};

/// Verifies capabilities, proofs and warrants offline, with the public keyring. Thread-safe.
class verifier {
public:
  verifier(verifier_options options, std::shared_ptr<const keyring> keys,
           std::shared_ptr<revocation_state> revocations);

  /// Puts a newer keyring in force; the keys it retires are revoked for capabilities already
  /// admitted.
  checked<void> replace_keyring(std::shared_ptr<const keyring> keys);
  std::shared_ptr<const keyring> keys() const;
  revocation_state& revocations() const { return *revocations_; }
  const verifier_options& options() const { return options_; }

  /// A nonce for one proof, good once and for 30 s.
  nonce challenge(boot_time now);

  /// Verifies a chain and that the peer holds it. The nonce is used up whatever comes out. What it
  /// has left by the wall clock now, it has left by the boot clock from now on.
  checked<verified_capability> admit(byte_view chain, const holder_proof& proof,
                                     const clock_reading& at);
  /// The same for a holder in this process, who shows its key itself.
  checked<verified_capability> admit_held(byte_view chain, const key_pair& holder,
                                          const clock_reading& at);
  /// What a chain allows, without anybody holding it: for `cap inspect`.
  checked<capability> inspect(byte_view chain, utc_ns now);

  /// Makes, verifies and admits a role's own capability. Its bytes and its holder's key are gone
  /// when this returns, so nobody can present it elsewhere; hence its life is that of the process,
  /// however long that is and whatever the wall clock says.
  checked<verified_capability> role_capability(actor_role role, const signing_key& key,
                                               std::uint32_t uid, std::uint32_t gid,
                                               const clock_reading& at);

  /// Verifies a warrant and its seal: key, cluster, end. Shared, because orders ask repeatedly.
  /// When it began is not asked: this cluster made it, and a clock may have been set back since.
  checked<std::shared_ptr<const warrant>> verify_warrant(byte_view body, byte_view seal,
                                                         utc_ns now);
  /// What a job's own work may do, under its warrant: bound to that job. Once the job or its uid is
  /// revoked, its key retired or the warrant's time over, nothing more is started for it; what runs
  /// can still be ended, and its ends recorded. The warrant's time is asked where starts are signed
  /// (verify_warrant).
  checked<verified_capability> from_warrant(byte_view body, byte_view seal);

  /// The job ended: its warrants are remembered no longer.
  void forget_job(std::uint64_t job);
  std::size_t warrants_remembered() const;

  /// Verifies a seal by a key known from context (a request's holder); its key_id must be 0.
  checked<void> verify_held_seal(std::string_view purpose, byte_view seal, byte_view body,
                                 const public_key& key);

private:
  using facts_ptr = std::shared_ptr<const verified_capability::facts>;

  checked<facts_ptr> verify_chain(byte_view chain, utc_ns now);
  facts_ptr limited(const verified_capability::facts& what, boot_time until) const;
  checked<verified_capability> admitted(const facts_ptr& known, const clock_reading& at) const;
  checked<facts_ptr> verify_chain_fully(byte_view chain, utc_ns now);
  checked<void> check_now(const verified_capability::facts& what, utc_ns now) const;
  checked<void> use_nonce(const nonce& which, boot_time now);
  checked<void> check_warrant_now(const warrant& what, utc_ns now) const;
  struct known_warrant {
    std::shared_ptr<const warrant> what;
    std::uint32_t key_id = 0;
  };
  checked<known_warrant> authentic_warrant(byte_view body, byte_view seal);
  void remember_warrant(const digest& name, std::uint64_t job);
  void forget_warrant(std::uint64_t job, const digest& name);
  facts_ptr make_facts(const capability& effective, const capability& parent) const;

  const verifier_options options_;
  const std::shared_ptr<revocation_state> revocations_;
  mutable std::mutex mutex_; ///< guards everything down to seal_mutex_
  std::shared_ptr<const keyring> keys_;
  std::unordered_map<digest, facts_ptr, bytes_hash> chains_;
  std::deque<digest> chain_order_;
  std::unordered_map<digest, known_warrant, bytes_hash> warrants_;
  std::deque<digest> warrant_order_; ///< with some that were forgotten since
  std::unordered_multimap<std::uint64_t, digest> warrants_of_;
  std::unordered_map<nonce, boot_time, bytes_hash> nonces_;
  std::deque<nonce> nonce_order_;
  std::mutex seal_mutex_; ///< its own: a signature takes 60 µs
  seal_cache seals_;
};

} // namespace troupe::auth
