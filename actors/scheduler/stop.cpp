// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"

// Purpose: bring the jobs to rest, because the cluster stops; or let them start again.
// Input:   pause_starts, then end_running until nothing is left.
// Action:  each job that has an actor is asked to stop, some of them at a time.
// Caveats: placements that come while starts are paused are kept, not given back: the planner would
//          make the same ones again at once.

namespace troupe::actors {

namespace {

constexpr std::size_t jobs_at_once_max = 512;

} // namespace

void scheduler_state::pause(bool on) {
  paused_ = on;
  if (on)
    return;
  for (auto& what : std::exchange(placed_meanwhile_, {}))
    place(what);
}

caf::result<running_ending> scheduler_state::end_running(request<troupe::end_running>& what) {
  struct stopping {
    running_ending total;
    std::size_t missing = 1;
    caf::typed_response_promise<running_ending> promise;
    void one_more() {
      if (--missing == 0)
        promise.deliver(total);
    }
  };
  auto state = std::make_shared<stopping>();
  state->promise = self_->make_response_promise<running_ending>();
  std::size_t count = 0;
  for (auto at = jobs_.upper_bound(what.msg.after); at != jobs_.end(); ++at) {
    const auto& job = at->second;
    if (!job.actor) {
      // Its actor is being made, or its end is being written: it answers the next time.
      state->total.unrecorded += job.activating || job.leaving;
      continue;
    }
    if (count++ == jobs_at_once_max)
      break;
    state->total.next = at->first;
    ++state->missing;
    ask(self_, job.actor, cap_, stop_elements{what.msg.by_uid, what.msg.reason})
        .then(
            [state](elements_stopping& left) {
              state->total.running += left.running;
              state->total.unrecorded += left.unrecorded;
              state->one_more();
            },
            [this, state, id = at->first](caf::error& failure) {
              const auto why = from_caf(failure);
              if (why.code != errc::unreachable) { // else it has ended meanwhile
                world_.log->warn("job {}: cannot be stopped: {}", id, why.text);
                ++state->total.unrecorded;
              }
              state->one_more();
            });
  }
  if (count <= jobs_at_once_max)
    state->total.next = 0;
  state->one_more();
  return state->promise;
}

} // namespace troupe::actors
