// SPDX-License-Identifier: Apache-2.0
#include "actors/scheduler/scheduler.hpp"

#include <fmt/format.h>

// Purpose: what is asked of a job's steps goes to the job's actor, or to the ledger after its end.

namespace troupe::actors {

caf::result<step_begun> scheduler_state::start_step(request<troupe::start_step>& what) {
  const auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end() || !at->second.actor || at->second.leaving)
    return auth::to_caf(
        error{errc::conflict, fmt::format("job {} is not running and can have no steps; inside a "
                                          "job, unset TROUPE_JOB_ID to run one of its own",
                                          what.msg.job)});
  if (paused_)
    return auth::to_caf(error{errc::unreachable, "the cluster is stopping"});
  return self_->delegate(at->second.actor, std::move(what));
}

caf::result<step_over> scheduler_state::await_step(request<troupe::await_step>& what) {
  const auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end() || !at->second.actor)
    return self_->delegate(to_.ledger, std::move(what));
  return self_->delegate(at->second.actor, std::move(what));
}

caf::result<step_spawned> scheduler_state::await_spawned(request<troupe::await_spawned>& what) {
  const auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end() || !at->second.actor)
    return self_->delegate(to_.ledger, std::move(what));
  return self_->delegate(at->second.actor, std::move(what));
}

caf::result<jobs_changed> scheduler_state::signal_step(request<troupe::signal_step>& what) {
  const auto at = jobs_.find(what.msg.job);
  if (at == jobs_.end() || !at->second.actor)
    return auth::to_caf(error{errc::conflict, fmt::format("job {} is not running", what.msg.job)});
  return self_->delegate(at->second.actor, std::move(what));
}

} // namespace troupe::actors
