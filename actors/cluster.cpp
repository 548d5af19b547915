// SPDX-License-Identifier: Apache-2.0
#include "actors/cluster.hpp"

#include <fmt/format.h>

namespace troupe::actors {

namespace {

constexpr auto ending_deadline = std::chrono::seconds(20);

} // namespace

cluster_state::cluster_state(self_pointer self, world& around, peers to)
    : self_{self}, world_{around}, to_{std::move(to)} {}

cluster_actor::behavior_type cluster_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<cluster_actor>(
      guard, on<get_status>([this](request<get_status>&) {
        status_report report;
        report.actor = name;
        report.items.push_back({"cluster", world_.config.cluster_name});
        report.items.push_back({"version", world_.config.version});
        report.items.push_back({"state directory", world_.config.state_directory});
        report.items.push_back({"socket", world_.config.socket_path});
        report.items.push_back({"stopping", stopping_ ? "true" : "false"});
        return report;
      }),
      on<tick>([this](request<tick>& what) { finish(what.msg.timer == 1); }),
      on<stop_cluster>([this](request<stop_cluster>& what) { return stop(what); }));
}

/// Answers what was running; the ending itself goes on behind the answer.
caf::result<cluster_stopping> cluster_state::stop(request<stop_cluster>& what) {
  if (stopping_)
    return auth::to_caf(error{errc::conflict, "the cluster is stopping already"});
  stopping_ = true;
  tell(to_.scheduler, world_.timer_cap, pause_starts{});
  auto promise = self_->make_response_promise<cluster_stopping>();
  list_queue asked;
  asked.rows_max = 10'000;
  ask(self_, to_.scheduler, what.cap, std::move(asked))
      .then(
          [this, promise, cap = what.cap, end = what.msg.end_jobs](job_rows& rows) mutable {
            cluster_stopping answer;
            for (auto& row : rows.rows) {
              if (row.state == job_state::pending)
                ++answer.pending;
              else
                answer.running.push_back(std::move(row));
            }
            world_.log->info("cluster: stopping; {} jobs run, {} wait", answer.running.size(),
                             answer.pending);
            if (!end)
              tick_later(self_, world_, std::chrono::milliseconds(50), 0);
            else if (answer.running.empty())
              tick_later(self_, world_, std::chrono::milliseconds(50), 1);
            else
              end_jobs(cap, answer.running);
            promise.deliver(std::move(answer));
          },
          [this, promise](caf::error& why) mutable {
            stopping_ = false;
            promise.deliver(why);
          });
  return promise;
}

/// Cancels what runs and waits for its ends to be durable; the launcher is ended last.
void cluster_state::end_jobs(const verified_capability& cap, const std::vector<job_row>& running) {
  cancel_jobs cancel;
  cancel.reason = "the cluster was stopped";
  await_jobs ends;
  for (const auto& row : running) {
    if (cancel.selector.targets.size() == 1024)
      break;
    cancel.selector.targets.push_back({row.job, row.job, {}});
  }
  ends.targets = cancel.selector.targets;
  ask(self_, to_.scheduler, cap, std::move(cancel)).then([](jobs_changed&) {}, [](caf::error&) {});
  ask(self_, to_.scheduler, cap, std::move(ends))
      .then([this](job_ends&) { finish(true); }, [this](caf::error&) { finish(true); });
  tick_later(self_, world_, ending_deadline, 1);
}

void cluster_state::finish(bool end_launcher_too) {
  if (finished_)
    return;
  finished_ = true;
  auto done = [this] {
    world_.log->info("cluster: stopped");
    to_.stopped();
  };
  if (!end_launcher_too) {
    done();
    return;
  }
  ask(self_, to_.launcher, world_.timer_cap, end_launcher{true})
      .then([done](launcher_ended&) { done(); }, [done](caf::error&) { done(); });
}

} // namespace troupe::actors
