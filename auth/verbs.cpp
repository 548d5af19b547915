// SPDX-License-Identifier: Apache-2.0
#include "auth/verbs.hpp"

#include <array>

namespace troupe::auth {

namespace {

constexpr std::array listing{
    verb_listing{verb::job_submit, "job_submit", "submit jobs"},
    verb_listing{verb::job_read, "job_read", "see own jobs in full, with their output"},
    verb_listing{verb::job_read_any, "job_read_any", "see everyone's jobs in full"},
    verb_listing{verb::job_cancel, "job_cancel", "cancel own jobs"},
    verb_listing{verb::job_cancel_any, "job_cancel_any", "cancel everyone's jobs"},
    verb_listing{verb::job_hold, "job_hold", "hold and release own jobs"},
    verb_listing{verb::job_hold_any, "job_hold_any", "hold and release everyone's jobs"},
    verb_listing{verb::job_signal, "job_signal", "send signals to own jobs"},
    verb_listing{verb::job_signal_any, "job_signal_any", "send signals to everyone's jobs"},
    verb_listing{verb::job_modify, "job_modify", "change own pending jobs"},
    verb_listing{verb::job_modify_any, "job_modify_any", "change everyone's pending jobs"},
    verb_listing{verb::queue_read, "queue_read", "see the queue"},
    verb_listing{verb::node_read, "node_read", "see the nodes"},
    verb_listing{verb::node_write, "node_write", "drain and resume nodes"},
    verb_listing{verb::history_read, "history_read", "see own ended jobs"},
    verb_listing{verb::history_read_any, "history_read_any", "see everyone's ended jobs"},
    verb_listing{verb::console_read, "console_read", "watch the actors"},
    verb_listing{verb::audit_read, "audit_read", "read the audit log"},
    verb_listing{verb::keys_read, "keys_read", "see the public keyring"},
    verb_listing{verb::capability_revoke, "capability_revoke", "revoke capabilities"},
    verb_listing{verb::cluster_stop, "cluster_stop", "stop the cluster"},
    verb_listing{verb::reservation_write, "reservation_write", "make and give up reservations"},
    verb_listing{verb::config_write, "config_write", "have the configuration read again"},
    verb_listing{verb::ledger_keep, "ledger_keep", "check and copy the ledger"},
    verb_listing{verb::session_open, "session_open", "ask the authority for a client's capability"},
    verb_listing{verb::ledger_write, "ledger_write", "append to the ledger"},
    verb_listing{verb::ledger_read, "ledger_read", "read the ledger"},
    verb_listing{verb::plan_decide, "plan_decide", "offer plan decisions"},
    verb_listing{verb::job_start, "job_start", "start a job on its placement"},
    verb_listing{verb::order_sign, "order_sign", "have launch orders signed"},
    verb_listing{verb::node_launch, "node_launch", "give nodes launch orders"},
    verb_listing{verb::node_report, "node_report", "report what runs on a node"},
    verb_listing{verb::observe, "observe", "watch every actor's state"},
    verb_listing{verb::supervise, "supervise", "start, restart and stop roles"},
    verb_listing{verb::step_speak, "step_speak", "say what the shepherds of one's own job say"},
};

constexpr verb_set user_verbs{
    verb::job_submit, verb::job_read,   verb::job_cancel, verb::job_hold,     verb::job_signal,
    verb::job_modify, verb::queue_read, verb::node_read,  verb::history_read, verb::keys_read};

constexpr verb_set operator_verbs =
    user_verbs | verb_set{verb::job_read_any,     verb::job_cancel_any, verb::job_hold_any,
                          verb::job_signal_any,   verb::job_modify_any, verb::node_write,
                          verb::history_read_any, verb::console_read,   verb::reservation_write};

constexpr verb_set admin_verbs =
    operator_verbs | verb_set{verb::audit_read, verb::capability_revoke, verb::cluster_stop,
                              verb::config_write, verb::ledger_keep};

constexpr verb_set union_of_all() {
  verb_set all;
  for (const auto& each : listing)
    all = all | verb_set{each.which};
  return all;
}

} // namespace

constexpr verb_set all_verbs = union_of_all();

std::span<const verb_listing> list_verbs() {
  return listing;
}

std::string_view to_string(verb which) {
  for (const auto& each : listing)
    if (each.which == which)
      return each.name;
  return "unknown";
}

std::optional<verb> parse_verb(std::string_view name) {
  for (const auto& each : listing)
    if (each.name == name)
      return each.which;
  return std::nullopt;
}

std::string to_string(verb_set verbs) {
  std::string text;
  for (const auto& each : listing) {
    if (!verbs.has(each.which))
      continue;
    if (!text.empty())
      text += ' ';
    text += each.name;
  }
  return text;
}

std::string_view to_string(account_role role) {
  switch (role) {
  case account_role::user: return "user";
  case account_role::operator_: return "operator";
  case account_role::admin: return "admin";
  }
  return "unknown";
}

std::optional<account_role> parse_account_role(std::string_view name) {
  for (auto role : {account_role::user, account_role::operator_, account_role::admin})
    if (to_string(role) == name)
      return role;
  return std::nullopt;
}

std::string_view to_string(actor_role role) {
  switch (role) {
  case actor_role::gateway: return "gateway";
  case actor_role::scheduler: return "scheduler";
  case actor_role::planner: return "planner";
  case actor_role::job: return "job";
  case actor_role::node: return "node";
  case actor_role::agent: return "agent";
  case actor_role::launcher: return "launcher";
  case actor_role::ledger: return "ledger";
  case actor_role::observer: return "observer";
  case actor_role::cluster: return "cluster";
  case actor_role::authority: return "authority";
  }
  return "unknown";
}

verb_set verbs_of(account_role role) {
  switch (role) {
  case account_role::user: return user_verbs;
  case account_role::operator_: return operator_verbs;
  case account_role::admin: return admin_verbs;
  }
  return {};
}

verb_set verbs_of(actor_role role) {
  switch (role) {
  case actor_role::gateway: return {verb::session_open, verb::queue_read, verb::observe};
  case actor_role::scheduler:
    return {verb::ledger_write,   verb::ledger_read, verb::plan_decide, verb::job_start,
            verb::job_cancel_any, verb::node_read,   verb::node_launch, verb::observe};
  case actor_role::planner: return {verb::plan_decide};
  case actor_role::job:
    return {verb::ledger_write, verb::ledger_read, verb::node_launch, verb::order_sign};
  case actor_role::node: return {verb::node_launch, verb::node_report, verb::observe};
  case actor_role::agent: return {verb::node_report, verb::node_launch};
  case actor_role::launcher: return {verb::node_report};
  case actor_role::ledger: return {verb::ledger_read};
  case actor_role::observer: return {verb::observe, verb::console_read};
  case actor_role::cluster: return {verb::supervise, verb::observe, verb::cluster_stop};
  case actor_role::authority:
    return {verb::ledger_write, verb::ledger_read, verb::order_sign, verb::capability_revoke};
  }
  return {};
}

verb_set warrant_verbs() {
  return {verb::ledger_write, verb::ledger_read, verb::job_start,   verb::job_read,
          verb::order_sign,   verb::node_launch, verb::node_report, verb::step_speak};
}

verb_set winding_down_verbs() {
  return {verb::ledger_write, verb::ledger_read, verb::job_start, verb::job_read,
          verb::node_launch,  verb::node_report, verb::step_speak};
}

} // namespace troupe::auth
