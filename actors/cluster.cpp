// SPDX-License-Identifier: Apache-2.0
#include "actors/cluster.hpp"

#include <fmt/format.h>

// Purpose: end the cluster in order.
// Input:   stop_cluster, of somebody who may see the queue and cancel everyone's jobs.
// Action:  nothing starts any more; jobs are asked to stop, round by round, until nothing runs and
//          every end is on the disk; then the launcher is ended, and this process.
// Caveats: it waits as long as grace times need. A call that is refused has changed nothing: all is
//          checked first, and starts go on on every way out. Where the disk takes no ends, it waits
//          for them for a while only: stopping must not need a disk.

namespace troupe::actors {

namespace {

constexpr std::uint32_t rows_told_max = 1000; ///< of what runs: an answer is one frame
constexpr auto round_pause_first = std::chrono::milliseconds(50);
constexpr auto round_pause_max = std::chrono::milliseconds(1000);
constexpr std::int64_t unrecorded_patience_ns = 10 * ns_per_s;
constexpr auto reason_of_ends = "the cluster was stopped";

enum timer : std::uint8_t { timer_finish_keeping, timer_next_round };

} // namespace

cluster_state::cluster_state(self_pointer self, world& around, peers to)
    : self_{self}, world_{around}, to_{std::move(to)}, round_pause_{round_pause_first} {}

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
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer == timer_finish_keeping)
          finish(false);
        else
          begin_round();
      }),
      on<stop_cluster>([this](request<stop_cluster>& what) { return stop(what); }));
}

/// What a stop will need, looked at before anything is changed.
expected<void> cluster_state::may_stop(const request<stop_cluster>& what) const {
  const auto now = world_.clock.now();
  if (auto ok = what.cap.check(verb::queue_read, now); !ok)
    return tl::unexpected<error>{ok.error()};
  if (!what.msg.end_jobs)
    return {};
  if (auto ok = what.cap.check(verb::job_cancel_any, now); !ok)
    return tl::unexpected<error>{ok.error()};
  if (what.cap.on().kind != auth::resource_kind::any || what.cap.bound().job != 0)
    return fail(errc::refused, "the capability covers some jobs or nodes only, and stopping ends "
                               "all that runs; use one without --jobs and --nodes");
  return {};
}

/// Answers what is running; the ending itself goes on behind the answer. Asked again meanwhile, it
/// answers what still is.
caf::result<cluster_stopping> cluster_state::stop(request<stop_cluster>& what) {
  if (auto ok = may_stop(what); !ok)
    return auth::to_caf(ok.error());
  if (stopping_ && !what.msg.end_jobs)
    return auth::to_caf(error{errc::conflict, "the cluster is stopping already"});
  const auto first = !std::exchange(stopping_, true);
  if (first)
    tell(to_.scheduler, world_.timer_cap, pause_starts{true});
  auto promise = self_->make_response_promise<cluster_stopping>();
  list_queue asked;
  asked.rows_max = rows_told_max;
  asked.selector.states = {job_state::starting, job_state::running, job_state::completing};
  ask(self_, to_.scheduler, what.cap, std::move(asked))
      .then(
          [this, promise, first, cap = what.cap, end = what.msg.end_jobs](job_rows& rows) {
            count(cap, promise, std::move(rows.rows), [this, first, by = cap.who().uid, end] {
              if (first)
                go_on(by, end);
            });
          },
          [this, promise, first](caf::error& why) mutable {
            if (first)
              resume();
            promise.deliver(why);
          });
  return promise;
}

/// Adds how many there are to the rows that are told, and answers.
void cluster_state::count(const verified_capability& cap,
                          caf::typed_response_promise<cluster_stopping> promise,
                          std::vector<job_row> rows, std::function<void()> then) {
  ask(self_, to_.scheduler, cap, get_summary{})
      .then(
          [this, promise, rows, then](cluster_summary& summary) mutable {
            world_.log->info("cluster: stopping; {} jobs run, {} wait", summary.running,
                             summary.pending);
            promise.deliver(cluster_stopping{std::move(rows), summary.running, summary.pending});
            then();
          },
          [promise, rows, then](caf::error&) mutable {
            const auto known = rows.size();
            promise.deliver(cluster_stopping{std::move(rows), known, 0});
            then();
          });
}

/// The call was refused after all: nothing has changed.
void cluster_state::resume() {
  stopping_ = false;
  tell(to_.scheduler, world_.timer_cap, pause_starts{false});
}

void cluster_state::go_on(std::uint32_t by_uid, bool end_jobs) {
  by_uid_ = by_uid;
  if (end_jobs)
    begin_round();
  else
    tick_later(self_, world_, round_pause_first, timer_finish_keeping);
}

// -- rounds -----------------------------------------------------------------------

void cluster_state::begin_round() {
  left_ = {};
  ask_to_end(0);
}

void cluster_state::ask_to_end(job_id after) {
  ask(self_, to_.scheduler, world_.timer_cap, end_running{after, by_uid_, reason_of_ends})
      .then(
          [this](running_ending& part) {
            left_.running += part.running;
            left_.unrecorded += part.unrecorded;
            if (part.next != 0)
              ask_to_end(part.next);
            else
              end_round();
          },
          [this](caf::error& why) {
            world_.log->error("cluster: jobs cannot be asked to end: {}; trying again",
                              auth::from_caf(why).text);
            tick_later(self_, world_, round_pause_max, timer_next_round);
          });
}

void cluster_state::end_round() {
  if (left_.running == 0 && left_.unrecorded == 0) {
    // Seen twice: the answer to who asked may be on its way out still, and would go with us.
    if (std::exchange(nothing_left_, true))
      return finish(true);
    tick_later(self_, world_, round_pause_first, timer_next_round);
    return;
  }
  nothing_left_ = false;
  const auto now = world_.clock.boot();
  if (left_.running > 0 || left_.unrecorded != unrecorded_before_) {
    unrecorded_before_ = left_.running > 0 ? 0 : left_.unrecorded;
    unrecorded_since_ = now;
  } else if (now - unrecorded_since_ >= unrecorded_patience_ns) {
    world_.log->error("cluster: nothing runs any more, but {} ends cannot be recorded; the next "
                      "start of the cluster tells them as lost",
                      left_.unrecorded);
    return finish(true);
  }
  tick_later(self_, world_, round_pause_, timer_next_round);
  round_pause_ = std::min(round_pause_ * 2, round_pause_max);
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
