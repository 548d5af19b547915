// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

#include <unistd.h>

// org.troupe.nodes, cluster, console and audit.

namespace troupe::actors {

void client_state::nodes(std::string_view, const slot_ptr& slot) {
  forward(to_->scheduler, list_nodes{}, slot, [this, slot](node_rows& rows) {
    answer(slot, calls::node_rows_reply{std::move(rows.nodes)});
  });
}

void client_state::drain(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::drain>(parameters, slot))
    forward(to_->scheduler,
            set_nodes{std::move(call->nodes), node_state::draining, std::move(call->reason)}, slot,
            [this, slot](node_rows& rows) {
              answer(slot, calls::node_rows_reply{std::move(rows.nodes)});
            });
}

void client_state::resume(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::resume>(parameters, slot))
    forward(to_->scheduler, set_nodes{std::move(call->nodes), node_state::up, {}}, slot,
            [this, slot](node_rows& rows) {
              answer(slot, calls::node_rows_reply{std::move(rows.nodes)});
            });
}

/// Needs no session: `troupe up` asks it to see whether the cluster is there.
void client_state::summary(std::string_view, const slot_ptr& slot) {
  self_->request(to_->scheduler, caf::infinite, request<get_summary>{to_->gateway, {}})
      .then(
          [this, slot](cluster_summary& from) {
            calls::summary::reply reply;
            reply.name = from.name;
            reply.version = from.version;
            reply.state = from.state;
            reply.pid = static_cast<std::uint32_t>(::getpid());
            reply.nodes = from.nodes;
            reply.cores = from.cores;
            reply.pending = from.pending;
            reply.running = from.running;
            reply.oversubscribed = from.oversubscribed;
            answer(slot, reply);
          },
          [this, slot](caf::error& why) { answer_failure(slot, why); });
}

void client_state::stop(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::stop>(parameters, slot))
    forward(to_->cluster, stop_cluster{!call->keep_running}, slot,
            [this, slot](cluster_stopping& stopping) {
              answer(slot, calls::stop::reply{std::move(stopping.running), stopping.pending,
                                              stopping.running_count});
            });
}

void client_state::actors(std::string_view, const slot_ptr& slot) {
  forward(to_->observer, list_actors{}, slot, [this, slot](actor_rows& rows) {
    answer(slot, calls::actors::reply{std::move(rows.actors)});
  });
}

void client_state::actor_status(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::actor_status>(parameters, slot))
    forward(to_->observer, show_actor{std::move(call->actor), call->verbosity}, slot,
            [this, slot](status_report& report) {
              answer(slot, calls::actor_status::reply{std::move(report)});
            });
}

void client_state::audit_tail(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::audit_tail>(parameters, slot))
    forward(to_->authority, tail_audit{call->lines}, slot, [this, slot](audit_lines& lines) {
      answer(slot, calls::audit_tail::reply{std::move(lines.lines)});
    });
}

void client_state::audit_verify(std::string_view, const slot_ptr& slot) {
  forward(to_->authority, verify_audit{}, slot, [this, slot](audit_verdict& verdict) {
    answer(slot, calls::audit_verify::reply{verdict.whole, verdict.records, verdict.broken_record,
                                            std::move(verdict.sentence)});
  });
}

} // namespace troupe::actors
