// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger_codec.hpp"
#include "actors/scheduler/scheduler.hpp"
#include "messages/cbor.hpp"

#include <fmt/format.h>

// Purpose: take jobs that the authority says were asked for.
// Input:   warranted jobs; each spec was validated when its warrant was made.
// Action:  what this cluster can never give is refused; the rest is kept by the ledger in one
//          append, then answered, then told to the planner.
// Caveats: the answer comes after the disk; if the append fails nothing was taken.

namespace troupe::actors {

/// Could the cluster, idle and whole, ever run this?
expected<void> scheduler_state::possible(const job_spec& spec) const {
  if (!spec.queue.empty() && spec.queue != "main")
    return fail(errc::invalid,
                fmt::format("there is no queue '{}'; this cluster has 'main'", spec.queue));
  for (const auto* names : {&spec.nodes_required, &spec.nodes_excluded})
    for (const auto& node : *names)
      if (!node_numbers_.contains(node))
        return fail(errc::invalid,
                    fmt::format("there is no node '{}'; 'troupe nodes' lists them", node));
  if (auto why = shapes_.impossible(shape_of(spec, node_numbers_)))
    return fail(errc::invalid, *why);
  return {};
}

caf::result<jobs_submitted> scheduler_state::submit(request<submit_jobs>& what) {
  auto answer = std::make_shared<jobs_submitted>();
  auto taken = std::make_shared<std::vector<warranted_job>>();
  append_entries entries;
  const auto now = world_.clock.utc();
  for (auto& job : what.msg.jobs) {
    if (auto ok = possible(job.event->spec); !ok) {
      answer->jobs.push_back(tl::unexpected<error>{ok.error()});
      continue;
    }
    ledger_entry entry;
    entry.job = job.job;
    entry.what = ledger_entry::kind::submitted;
    entry.encoded = to_cbor(*job.event);
    entry.request_id = job.request_id;
    entry.row = row_of_submission(job.job, *job.event, now);
    entry.uid = job.event->identity.uid;
    entry.submitted = job.event;
    entries.entries.push_back(std::move(entry));
    answer->jobs.push_back(job.job);
    taken->push_back(std::move(job));
  }
  if (entries.entries.empty())
    return std::move(*answer);
  auto promise = self_->make_response_promise<jobs_submitted>();
  ask(self_, to_.ledger, cap_, std::move(entries))
      .then(
          [this, promise, answer, taken](entries_kept& kept) mutable {
            std::vector<plan_event> events;
            for (const auto& job : *taken) {
              take_submitted(job, kept.at_utc_ns);
              plan_event event;
              event.what = plan_event::kind::submitted;
              event.job = job.job;
              event.spec = std::shared_ptr<job_spec const>(job.event, &job.event->spec);
              event.pending_elements = element_count(job.event->spec);
              events.push_back(std::move(event));
            }
            plan(std::move(events));
            promise.deliver(std::move(*answer));
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

void scheduler_state::take_submitted(const warranted_job& job, utc_ns at) {
  ++submitted_;
  job_record entry;
  entry.row = row_of_submission(job.job, *job.event, at);
  entry.uid = job.event->identity.uid;
  entry.attached = job.event->spec.attached;
  entry.unattended_since = world_.clock.boot();
  jobs_.emplace_hint(jobs_.end(), job.job, std::move(entry));
}

} // namespace troupe::actors
