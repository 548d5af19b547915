// SPDX-License-Identifier: Apache-2.0
#include "actors/agent.hpp"

#include "actors/shepherd.hpp"
#include "actors/task.hpp"
#include "auth/exec_spec.hpp"
#include "auth/order.hpp"

#include <fmt/format.h>
#include <unistd.h>

namespace troupe::actors {

agent_state::agent_state(self_pointer self, world& around, verified_capability cap,
                         std::string node_name, std::uint32_t node_number, peers to)
    : self_{self}, world_{around}, cap_{std::move(cap)}, node_name_{std::move(node_name)},
      node_number_{node_number}, to_{std::move(to)} {
  self_->set_down_handler([this](caf::scheduled_actor*, caf::down_msg& gone) {
    std::erase_if(tasks_, [&](const auto& each) {
      if (each.second != gone.source)
        return false;
      to_.files->release(each.first.job);
      return true;
    });
    to_.routes->forget(gone.source);
    std::erase_if(shepherds_, [&](const auto& each) { return each.second.actor == gone.source; });
  });
}

agent_actor::behavior_type agent_state::make_behavior(auth::guard_observer& guard) {
  auto forward = [this](auto& what) { tell(to_.launcher, what.cap, std::move(what.msg)); };
  return secure_behavior<agent_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<launch_orders>([this](request<launch_orders>& what) { launch(what); }),
      on<signal_group>([forward](request<signal_group>& what) { forward(what); }),
      on<end_group>([forward](request<end_group>& what) { forward(what); }),
      on<revoke_group>([forward](request<revoke_group>& what) { forward(what); }),
      on<acknowledge_records>([forward](request<acknowledge_records>& what) { forward(what); }),
      on<forget_group>([this](request<forget_group>& what) { forget(what); }),
      on<tell_shepherd>([this](request<tell_shepherd>& what) {
        auto& shepherd = shepherd_for(what.msg.group, what.msg.element);
        shepherd.cap = what.cap;
        announce(shepherd, what.msg.group, what.msg.element);
        tell(shepherd.actor, what.cap, std::move(what.msg));
      }),
      on<hear_shepherd>(
          [this](request<hear_shepherd>& what) { tell(to_.node, what.cap, std::move(what.msg)); }),
      on<read_output>([this](request<read_output>& what) { return read(what); }),
      on<write_input>([this](request<write_input>& what) { return write(what); }),
      on<report_records>([this](request<report_records>& what) {
        records_ += what.msg.records.size();
        tell(to_.node, cap_, std::move(what.msg));
      }),
      on<report_inventory>(
          [this](request<report_inventory>& what) { tell(to_.node, cap_, std::move(what.msg)); }),
      on<take_stream>([this](request<take_stream>& what) { take(what); }),
      on<lend_again>([forward](request<lend_again>& what) { forward(what); }));
}

/// Everything of a group is over. Its task goes when its streams have been moved to their ends;
/// till then readers ask it.
void agent_state::forget(request<forget_group>& what) {
  const auto& group = what.msg.group;
  if (auto at = tasks_.find(group); at != tasks_.end())
    tell(at->second, what.cap, what.msg);
  for (const auto& [key, shepherd] : shepherds_)
    if (group.step == 0 && key.first.job == group.job && key.first.incarnation == group.incarnation)
      tell(shepherd.actor, what.cap, what.msg);
  tell(to_.launcher, what.cap, std::move(what.msg));
}

/// The shepherd of an element, whatever its steps.
agent_state::known_shepherd& agent_state::shepherd_for(const group_key& group,
                                                       std::uint32_t element) {
  const group_key key{group.job, group.incarnation, 0};
  auto& shepherd = shepherds_[{key, element}];
  if (shepherd.actor)
    return shepherd;
  shepherd.actor = self_->template spawn<shell<shepherd_state>>(std::ref(world_), self_->id(), cap_,
                                                                key, element, node_number_,
                                                                agent_actor{self_}, to_.lines);
  self_->monitor(shepherd.actor);
  return shepherd;
}

task_actor agent_state::task_for(const group_key& group, std::uint32_t uid) {
  auto& task = tasks_[group];
  if (task)
    return task;
  to_.files->hold(group.job);
  task = self_->template spawn<shell<task_state>>(std::ref(world_), self_->id(), cap_, group, uid,
                                                  to_.launcher, to_.pump, to_.inputs, to_.files);
  self_->monitor(task);
  return task;
}

/// Orders go on as they are: only the launcher judges them. A streamed step gets its task.
void agent_state::launch(request<launch_orders>& what) {
  orders_ += what.msg.orders.size();
  for (const auto& each : what.msg.orders) {
    auth::exec_spec_view spec{};
    auth::order_view order{};
    if (auth::decode_exec_spec(each.spec, spec) || auth::decode_order(each.order, order))
      continue;
    if (spec.stdin_path == "|" || spec.stdout_path == "|" || spec.stderr_path == "|")
      task_for(each.group, order.uid);
  }
  tell(to_.launcher, what.cap, std::move(what.msg));
}

void agent_state::take(request<take_stream>& what) {
  ++streams_;
  if (what.msg.what == take_stream::kind::shepherd)
    return take_shepherd(what);
  auto task = task_for(what.msg.group, what.msg.uid);
  to_.routes->add(what.msg.stream, task);
  tell(task, cap_, std::move(what.msg));
}

void agent_state::take_shepherd(request<take_stream>& what) {
  auto& shepherd = shepherd_for(what.msg.group, what.msg.element);
  shepherd.lent = true;
  shepherd.announced = false; // it may be another one
  announce(shepherd, what.msg.group, what.msg.element);
  to_.shepherds->add(what.msg.stream, shepherd.actor);
  tell(shepherd.actor, cap_, std::move(what.msg));
}

/// Its job hears of it before its ranks can run: their ends, which come from the launcher, may
/// overtake the first words of its own, and the job would not wait for the last ones.
void agent_state::announce(known_shepherd& shepherd, const group_key& group,
                           std::uint32_t element) {
  if (!shepherd.lent || !shepherd.cap || std::exchange(shepherd.announced, true))
    return;
  tell(to_.node, shepherd.cap,
       hear_shepherd{node_number_,
                     {group.job, group.incarnation, 0},
                     element,
                     std::make_shared<shepherd::to_agent const>(),
                     false});
}

caf::result<output_chunk> agent_state::read(request<read_output>& what) {
  auto at = tasks_.find(what.msg.group);
  if (at == tasks_.end())
    return read_file(what);
  // Not delegated: the task may end while the question is on its way.
  auto promise = self_->make_response_promise<output_chunk>();
  self_->request(at->second, caf::infinite, what)
      .then([promise](output_chunk& chunk) mutable { promise.deliver(std::move(chunk)); },
            [this, promise, what](caf::error& why) mutable {
              if (why != caf::sec::request_receiver_down)
                promise.deliver(std::move(why));
              else if (auto chunk = read_file(what))
                promise.deliver(std::move(*chunk));
              else
                promise.deliver(std::move(chunk.error()));
            });
  return promise;
}

/// Without a task its rank is gone, and so is one that ends while the question is on its way.
caf::result<input_taken> agent_state::write(request<write_input>& what) {
  const input_taken nobody{what.msg.offset, true};
  auto at = tasks_.find(what.msg.group);
  if (at == tasks_.end())
    return nobody;
  auto promise = self_->make_response_promise<input_taken>();
  self_->request(at->second, caf::infinite, std::move(what))
      .then([promise](input_taken& taken) mutable { promise.deliver(taken); },
            [promise, nobody](caf::error& why) mutable {
              if (why == caf::sec::request_receiver_down)
                promise.deliver(nobody);
              else
                promise.deliver(std::move(why));
            });
  return promise;
}

/// What a stream without a task has: everything that was written is in its file.
caf::expected<output_chunk> agent_state::read_file(const request<read_output>& what) const {
  output_chunk chunk;
  chunk.offset = what.msg.offset;
  chunk.ended = true;
  // A reader in the middle is told that there is no more of it, not that this was the end.
  const auto gone = [&]() -> caf::expected<output_chunk> {
    if (what.msg.offset == 0)
      return chunk;
    return auth::to_caf(error{errc::not_found, fmt::format("the rest of the output of job {} is no "
                                                           "longer kept",
                                                           what.msg.group.job)});
  };
  const auto owner = to_.files->owner_of(what.msg.group.job);
  if (!owner)
    return gone();
  if (auto ok = what.cap.permits(verb::job_read, verb::job_read_any, *owner, what.msg.group.job,
                                 world_.clock.now());
      !ok)
    return auth::to_caf(ok.error());
  auto file = to_.files->open_for_reading(*owner, key_of(what.msg));
  if (!file)
    return gone();
  const auto bytes_max = std::min<std::uint32_t>(what.msg.bytes_max, 256 * 1024);
  auto data = read_at(file.get(), what.msg.offset, bytes_max);
  if (!data)
    return auth::to_caf(data.error());
  chunk.data = std::move(*data);
  chunk.ended = chunk.data.size() < bytes_max;
  return chunk;
}

status_report agent_state::status() const {
  status_report report;
  report.actor = display_name();
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("orders passed on", orders_);
  add("records passed back", records_);
  add("streams taken", streams_);
  add("tasks", tasks_.size());
  add("shepherds", shepherds_.size());
  return report;
}

} // namespace troupe::actors
