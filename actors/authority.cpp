// SPDX-License-Identifier: Apache-2.0
#include "actors/authority.hpp"

#include "auth/keys.hpp"
#include "auth/order.hpp"
#include "messages/exec.hpp"

#include <fmt/format.h>

namespace troupe::actors {

namespace {

constexpr boot_ns account_life_ns = 60 * ns_per_s;
constexpr std::uint32_t flush_timer = 1;
constexpr std::int64_t unrecorded_life_ns = 300 * ns_per_s;

std::string audit_path(const world& around) {
  return around.config.state_directory + "/audit.log";
}

job_identity identity_of(const auth::account& account) {
  job_identity identity;
  identity.uid = account.uid;
  identity.gid = account.gid;
  identity.groups = account.groups;
  identity.user = account.user;
  identity.home = account.home;
  identity.shell = account.shell;
  return identity;
}

} // namespace

auth::ceilings ceilings_of(const job_spec& spec) {
  auth::ceilings most;
  most.nodes = std::max(spec.nodes == 0 ? spec.tasks : spec.nodes, 1u);
  most.cores = spec.tasks * spec.cores_per_task;
  most.memory_bytes = spec.memory_bytes;
  most.time_s = spec.time_limit_s;
  return most;
}

authority_state::authority_state(self_pointer self, world& around,
                                 std::shared_ptr<auth::authority> core,
                                 std::shared_ptr<audit_trail> audit, verified_capability cap)
    : self_{self}, world_{around}, core_{std::move(core)}, audit_{std::move(audit)}, cap_{std::move(
                                                                                         cap)} {}

authority_actor::behavior_type authority_state::make_behavior(auth::guard_observer& guard) {
  tick_later(self_, world_, std::chrono::seconds(1), flush_timer);
  return secure_behavior<authority_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer != flush_timer) {
          sign_waiting();
          return;
        }
        audit_->flush();
        if (!audit_->accepts() || audit_->last_sequence() != checkpointed_) {
          if (auto done = audit_->checkpoint(); !done)
            world_.log->error("audit: {}", done.error().text);
          else
            checkpointed_ = audit_->last_sequence();
        }
        tick_later(self_, world_, std::chrono::seconds(5), flush_timer);
      }),
      on<open_session>([this](request<open_session>& what) { return login(what.msg); }),
      on<note_refusal>([this](request<note_refusal>& what) {
        audit_->refused(what.msg.peer, what.msg.uid, what.msg.reason, what.msg.action);
      }),
      on<note_admission>([this](request<note_admission>& what) { admitted(what.msg); }),
      on<describe_caller>([this](request<describe_caller>& what) { return describe(what); }),
      on<amend_warrant>([this](request<amend_warrant>& what) { return amend(what); }),
      on<request_warrants>([this](request<request_warrants>& what) { return warrants(what); }),
      on<warrant_step>([this](request<warrant_step>& what) { return step_warrant(what); }),
      on<sign_orders>([this](request<sign_orders>& what) { return sign(what); }),
      on<release_orders>([this](request<release_orders>& what) {
        const auto& of = what.msg;
        core_->release_elements(of.group.job, of.group.incarnation, of.group.step, of.node,
                                of.element_first, of.element_last);
      }),
      on<forget_job>([this](request<forget_job>& what) { core_->forget_job(what.msg.job); }),
      on<list_keys>([this](request<list_keys>&) { return keys(); }),
      on<tail_audit>([this](request<tail_audit>& what) { return tail(what.msg.lines); }),
      on<verify_audit>([this](request<verify_audit>&) { return verify(); }),
      on<revoke_capabilities>([this](request<revoke_capabilities>& what) { return revoke(what); }));
}

// -- sessions -------------------------------------------------------------------

expected<session_opened> authority_state::login(open_session& what) {
  const auto peer = fmt::format("uid {} pid {}", what.uid, what.pid);
  std::optional<auth::account_role> wanted;
  if (!what.role.empty()) {
    wanted = auth::parse_account_role(what.role);
    if (!wanted)
      return fail(
          errc::invalid,
          fmt::format("there is no role '{}'; the roles are user, operator, admin", what.role));
  }
  // Looking, cancelling and stopping need no disk: while the audit log takes nothing, what is
  // granted is short and recorded later; what needs a warrant is refused all the same.
  const auto recorded = audit_->accepts();
  auto grant = core_->login(what.uid, what.gid, what.holder, wanted,
                            recorded ? auth::capability_life_max_ns : unrecorded_life_ns);
  if (!grant) {
    audit_->refused(peer, what.uid, grant.error().why, "login");
    return tl::unexpected<error>{grant.error()};
  }
  auth::audit_event event{"login", what.uid, peer, {}};
  event.fields.emplace_back("role", std::string{auth::to_string(grant->role)});
  event.fields.emplace_back("mechanism", what.mechanism);
  event.fields.emplace_back("serial", auth::to_hex(grant->serial));
  if (!audit_->append_or_defer(event))
    world_.log->warn("audit: a login of uid {} is recorded later", what.uid);
  ++logins_;
  return session_opened{std::move(grant->capability), std::string{auth::to_string(grant->role)}};
}

void authority_state::admitted(const note_admission& what) {
  auth::audit_event event{"admitted", what.uid, what.peer, {}};
  event.fields.emplace_back("serial", what.serial);
  if (!what.parent.empty())
    event.fields.emplace_back("parent", what.parent);
  audit_->append_or_defer(event);
}

// -- warrants -------------------------------------------------------------------

expected<const auth::account*> authority_state::account_of(std::uint32_t uid) {
  const auto now = world_.clock.boot();
  if (auto at = accounts_.find(uid); at != accounts_.end() && at->second.until > now)
    return &at->second.who;
  auto found = auth::resolve_account(uid);
  if (!found)
    return tl::unexpected<error>{found.error()};
  auto& entry = accounts_[uid];
  entry = {std::move(*found), now + account_life_ns};
  return &entry.who;
}

expected<warrants_issued> authority_state::warrants(request<request_warrants>& what) {
  if (auto ok = audit_->accepts(); !ok)
    return tl::unexpected<error>{ok.error()};
  auto account = account_of(what.cap.who().uid);
  if (!account)
    return tl::unexpected<error>{account.error()};
  const auto& batch = what.msg.submissions;
  std::vector<auth::warrant_application> applications(batch.size());
  warrants_issued result;
  result.jobs.resize(batch.size());
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const auto& spec = *batch[i].spec;
    auto& application = applications[i];
    application.request = batch[i].request.body;
    application.seal = batch[i].request.seal;
    application.spec_digest = spec_digest(spec);
    application.elements = summary_of_elements(spec);
    application.most = ceilings_of(spec);
    if (auto exec = auth::encode_exec_spec(to_exec_spec(spec)))
      application.exec_digest = auth::exec_spec_digest(*exec);
    else
      return tl::unexpected<error>{exec.error()};
  }
  auto issued = core_->issue_warrants(what.cap, **account, applications);
  std::uint64_t first = 0, last = 0, count = 0;
  for (std::size_t i = 0; i < issued.size(); ++i) {
    // Only its own holder's request comes as far as this: it is told what became of it.
    if (!issued[i] && issued[i].error().why == auth::reason::replayed) {
      auto request = auth::decode_job_request(batch[i].request.body);
      if (request)
        result.jobs[i] = warranted_job{0, request->id, nullptr};
      else
        result.jobs[i] = tl::unexpected<error>{request.error()};
      continue;
    }
    if (!issued[i]) {
      audit_->refused(fmt::format("uid {}", what.cap.who().uid), what.cap.who().uid,
                      issued[i].error().why, "submit");
      result.jobs[i] = tl::unexpected<error>{issued[i].error()};
      continue;
    }
    auto event = std::make_shared<submitted_event>();
    event->spec = *batch[i].spec;
    event->identity = identity_of(**account);
    event->warrant = std::move(issued[i]->body);
    event->warrant_seal = std::move(issued[i]->seal);
    result.jobs[i] = warranted_job{issued[i]->job, issued[i]->request, std::move(event)};
    first = first == 0 ? issued[i]->job : first;
    last = issued[i]->job;
    ++count;
  }
  warrants_ += count;
  if (count == 0)
    return result;
  auth::audit_event event{"warrants", what.cap.who().uid, "", {}};
  event.fields.emplace_back("first", std::to_string(first));
  event.fields.emplace_back("last", std::to_string(last));
  event.fields.emplace_back("count", std::to_string(count));
  event.fields.emplace_back("serial", auth::to_hex(what.cap.serial()));
  if (auto kept = audit_->append(event); !kept)
    return tl::unexpected<error>{kept.error()};
  return result;
}

expected<caller_described> authority_state::describe(const request<describe_caller>& what) {
  auto account = account_of(what.cap.who().uid);
  if (!account)
    return tl::unexpected<error>{account.error()};
  return caller_described{identity_of(**account)};
}

expected<warrant_amended> authority_state::amend(request<amend_warrant>& what) {
  if (auto ok = audit_->accepts(); !ok)
    return tl::unexpected<error>{ok.error()};
  const auto& before = *what.msg.event;
  const auto& wanted = *what.msg.spec;
  if (to_exec_spec(wanted) != to_exec_spec(before.spec) ||
      summary_of_elements(wanted) != summary_of_elements(before.spec))
    return fail(errc::refused, "what a job executes cannot be modified");
  auto made =
      core_->amend_warrant(what.cap, before.warrant, before.warrant_seal, ceilings_of(wanted));
  if (!made) {
    audit_->refused(fmt::format("uid {}", what.cap.who().uid), what.cap.who().uid, made.error().why,
                    "modify");
    return tl::unexpected<error>{made.error()};
  }
  auth::audit_event event{"warrant_amended", what.cap.who().uid, "", {}};
  event.fields.emplace_back("job", std::to_string(what.msg.job));
  event.fields.emplace_back("serial", auth::to_hex(what.cap.serial()));
  if (auto kept = audit_->append(event); !kept)
    return tl::unexpected<error>{kept.error()};
  auto after = std::make_shared<submitted_event>();
  after->spec = wanted;
  after->identity = before.identity;
  after->warrant = std::move(made->body);
  after->warrant_seal = std::move(made->seal);
  return warrant_amended{std::move(after)};
}

// -- orders ---------------------------------------------------------------------

caf::result<orders_signed> authority_state::sign(request<sign_orders>& what) {
  auto promise = self_->make_response_promise<orders_signed>();
  waiting_.push_back({std::move(what.msg.orders), promise});
  if (waiting_.size() == 1)
    self_->send(self_, request<tick>{world_.timer_cap, tick{}});
  return promise;
}

auth::checked<std::vector<bytes>>
authority_state::sign_batch(const std::vector<order_draft>& drafts) {
  std::vector<auth::order_application> applications;
  applications.reserve(drafts.size());
  for (const auto& draft : drafts)
    applications.push_back({draft.order, draft.event->warrant, draft.event->warrant_seal});
  auto seals = core_->sign_orders(cap_, applications);
  if (!seals)
    return seals;
  ++signatures_;
  orders_ += drafts.size();
  auth::audit_event event{"orders", std::nullopt, "", {}};
  event.fields.emplace_back("count", std::to_string(drafts.size()));
  auth::order_view order{};
  if (!auth::decode_order(drafts.front().order, order)) {
    event.fields.emplace_back("first_job", std::to_string(order.job));
    event.fields.emplace_back("first_node", std::to_string(order.node_id));
  }
  // A ledger that does not know a job that was ordered is not the newest one.
  std::uint64_t highest = 0;
  for (const auto& draft : drafts)
    if (!auth::decode_order(draft.order, order))
      highest = std::max(highest, order.job);
  event.fields.emplace_back("highest_job", std::to_string(highest));
  // Work that was granted goes on when the disk is full.
  audit_->append_or_defer(event);
  return seals;
}

/// One signature over everything that waits; if one order is bad, each asker gets its own answer.
void authority_state::sign_waiting() {
  auto waiting = std::exchange(waiting_, {});
  if (waiting.empty())
    return;
  if (waiting.size() == 1) {
    sign_alone(waiting.front());
    return;
  }
  std::vector<order_draft> all;
  for (const auto& one : waiting)
    all.insert(all.end(), one.drafts.begin(), one.drafts.end());
  auto seals = sign_batch(all);
  if (!seals) {
    for (auto& one : waiting)
      sign_alone(one);
    return;
  }
  auto next = seals->begin();
  for (auto& one : waiting) {
    orders_signed answer;
    const auto count = static_cast<std::ptrdiff_t>(one.drafts.size());
    answer.seals.assign(std::make_move_iterator(next), std::make_move_iterator(next + count));
    next += count;
    one.promise.deliver(std::move(answer));
  }
}

void authority_state::sign_alone(waiting_orders& one) {
  auto seals = sign_batch(one.drafts);
  if (seals) {
    one.promise.deliver(orders_signed{std::move(*seals)});
    return;
  }
  audit_->refused("scheduler", std::nullopt, seals.error().why, "sign_orders");
  one.promise.deliver(auth::to_caf(seals.error()));
}

// -- looking and revoking -------------------------------------------------------

expected<key_rows> authority_state::keys() const {
  key_rows result;
  const auto contents = world_.verifier.keys()->contents();
  result.version = contents.version;
  for (const auto& entry : contents.entries)
    result.keys.push_back({entry.key_id, std::string{auth::to_string(entry.state)},
                           auth::to_hex(entry.key), entry.not_after});
  return result;
}

expected<audit_lines> authority_state::tail(std::uint32_t lines) {
  audit_->flush();
  auto found = auth::tail_audit(audit_path(world_), lines);
  if (!found)
    return tl::unexpected<error>{found.error()};
  return audit_lines{std::move(*found)};
}

expected<audit_verdict> authority_state::verify() {
  if (auto done = audit_->checkpoint(); !done)
    return tl::unexpected<error>{done.error()};
  const auto contents = world_.verifier.keys()->contents();
  auto report = auth::verify_audit(audit_path(world_), contents.entries);
  if (!report)
    return tl::unexpected<error>{report.error()};
  audit_verdict verdict;
  verdict.whole = report->good();
  verdict.records = report->records;
  verdict.broken_record = report->broken_record;
  verdict.sentence =
      report->good()
          ? fmt::format("the audit chain is whole: {} records, {} signed checkpoints, the last at "
                        "record {}",
                        report->records, report->checkpoints, report->last_signed)
          : fmt::format("the audit chain is broken at record {}: {}", report->broken_record,
                        report->why);
  return verdict;
}

/// What the revocations are told to hold from now on; the new epoch.
expected<std::uint64_t> authority_state::add_revocation(const revoke_capabilities& what) {
  auto& state = world_.verifier.revocations();
  const auto now = world_.clock.utc();
  if (what.uid)
    return state.revoke_uid(*what.uid);
  if (what.job)
    return state.revoke_job(*what.job);
  auto raw = auth::from_hex(what.serial);
  auth::serial_number serial{};
  if (!raw || raw->size() != serial.size())
    return fail(errc::invalid, fmt::format("'{}' is no serial number: it has 32 hexadecimal "
                                           "digits",
                                           what.serial));
  std::copy(raw->begin(), raw->end(), serial.begin());
  // What comes from a warrant has none.
  if (serial == auth::serial_number{})
    return fail(errc::invalid, "no capability has this serial number");
  return state.revoke_serial(serial, now + auth::capability_life_max_ns, now);
}

caf::result<capabilities_revoked> authority_state::revoke(request<revoke_capabilities>& what) {
  const auto& asked = what.msg;
  if (!asked.serial.empty() + asked.uid.has_value() + asked.job.has_value() != 1)
    return auth::to_caf(error{errc::invalid, "name one thing to revoke: a serial, a uid or a job"});
  if (asked.uid == what.cap.who().uid)
    return auth::to_caf(error{errc::invalid, "this is your own uid: nobody could give it back to "
                                             "you; revoke a serial or a job instead"});
  // Who reaches certain jobs only may revoke these, and nothing that others depend on.
  const bool reaches_all =
      what.cap.on().kind == auth::resource_kind::any && what.cap.bound().job == 0;
  if (!reaches_all && !(asked.job && what.cap.covers(auth::resource_kind::jobs, *asked.job)))
    return auth::to_caf(auth::refuse(auth::reason::outside_resource,
                                     "the capability does not reach all that this would end")
                            .value());
  auto epoch = add_revocation(asked);
  if (!epoch)
    return auth::to_caf(epoch.error());
  // It holds already, so it is told whatever becomes of the file.
  auth::audit_event event{"revoked", what.cap.who().uid, "", {}};
  event.fields.emplace_back("serial", asked.serial);
  event.fields.emplace_back("epoch", std::to_string(*epoch));
  if (asked.uid)
    event.fields.emplace_back("of_uid", std::to_string(*asked.uid));
  if (asked.job)
    event.fields.emplace_back("of_job", std::to_string(*asked.job));
  audit_->append_or_defer(event);
  // Revoked is revoked at once; the answer waits until it is so after a restart, too.
  const auto text = world_.verifier.revocations().to_text();
  auto kept = auth::write_file_durably(
      world_.config.state_directory + "/keys/revocations",
      {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, 0600);
  if (!kept)
    return auth::to_caf(
        error{errc::storage, fmt::format("it is revoked until the next restart, but could not be "
                                         "kept: {}",
                                         kept.error().text)});
  return capabilities_revoked{*epoch};
}

status_report authority_state::status() {
  status_report report;
  report.actor = name;
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("logins", logins_);
  add("warrants", warrants_);
  add("orders signed", orders_);
  add("signatures for them", signatures_);
  add("next job", core_->next_job());
  add("request ids remembered", core_->burned());
  add("revocation epoch", world_.verifier.revocations().epoch());
  add("audit records", audit_->last_sequence());
  return report;
}

} // namespace troupe::actors
