// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"
#include "auth/audit.hpp"
#include "auth/authority.hpp"

#include <mutex>
#include <unordered_map>

namespace troupe::actors {

/// The audit chain behind a lock: the authority's own grants and every actor's refusals.
class audit_trail {
public:
  explicit audit_trail(auth::audit_log log) : log_{std::move(log)} {}

  expected<void> append(const auth::audit_event& event) {
    std::lock_guard lock{mutex_};
    return log_.append(event);
  }
  void refused(std::string_view peer, std::optional<std::uint32_t> uid, auth::reason why,
               std::string_view action) {
    std::lock_guard lock{mutex_};
    // A full disk shows in accepts(): what is refused stays refused without a record.
    (void)log_.refused(peer, uid, why, action);
  }
  bool append_or_defer(const auth::audit_event& event) {
    std::lock_guard lock{mutex_};
    return log_.append_or_defer(event);
  }
  auth::checked<void> accepts() {
    std::lock_guard lock{mutex_};
    return log_.accepts();
  }
  expected<void> checkpoint() {
    std::lock_guard lock{mutex_};
    (void)log_.flush_refusals();
    return log_.checkpoint();
  }
  void flush() {
    std::lock_guard lock{mutex_};
    (void)log_.flush_refusals();
  }
  std::uint64_t last_sequence() {
    std::lock_guard lock{mutex_};
    return log_.last_sequence();
  }

private:
  std::mutex mutex_;
  auth::audit_log log_;
};

/// The most that what a spec asks for may use.
auth::ceilings ceilings_of(const job_spec& spec);

/// Issues capabilities and warrants, signs orders, keeps the audit chain. Detached: users are
/// resolved and audit records written here. Orders that arrive together share one signature.
class authority_state {
public:
  using interface = authority_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "authority";

  authority_state(self_pointer self, world& around, std::shared_ptr<auth::authority> core,
                  std::shared_ptr<audit_trail> audit, verified_capability cap);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  struct waiting_orders {
    std::vector<order_draft> drafts;
    caf::typed_response_promise<orders_signed> promise;
  };

  expected<session_opened> login(open_session& what);
  void admitted(const note_admission& what);
  expected<caller_described> describe(const request<describe_caller>& what);
  expected<warrant_amended> amend(request<amend_warrant>& what);
  expected<warrants_issued> warrants(request<request_warrants>& what);
  expected<step_warranted> step_warrant(request<warrant_step>& what);
  expected<const auth::account*> account_of(std::uint32_t uid);
  caf::result<orders_signed> sign(request<sign_orders>& what);
  void sign_waiting();
  void sign_alone(waiting_orders& one);
  auth::checked<std::vector<bytes>> sign_batch(const std::vector<order_draft>& drafts);
  expected<key_rows> keys() const;
  expected<audit_lines> tail(std::uint32_t lines);
  expected<audit_verdict> verify();
  expected<std::uint64_t> add_revocation(const revoke_capabilities& what);
  caf::result<capabilities_revoked> revoke(request<revoke_capabilities>& what);
  status_report status();

  self_pointer self_;
  world& world_;
  std::shared_ptr<auth::authority> core_;
  std::shared_ptr<audit_trail> audit_;
  verified_capability cap_;
  struct known_account {
    auth::account who;
    boot_ns until = 0;
  };
  std::unordered_map<std::uint32_t, known_account> accounts_;
  std::vector<waiting_orders> waiting_;
  std::uint64_t logins_ = 0, warrants_ = 0, orders_ = 0, signatures_ = 0;
  std::uint64_t checkpointed_ = 0;
};

} // namespace troupe::actors
