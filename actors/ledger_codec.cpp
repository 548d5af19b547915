// SPDX-License-Identifier: Apache-2.0
#include "actors/ledger_codec.hpp"

namespace troupe::actors {

ledger::event_kind to_kind(ledger_entry::kind kind) {
  using from = ledger_entry::kind;
  using to = ledger::event_kind;
  switch (kind) {
  case from::submitted: return to::submitted;
  case from::held: return to::held;
  case from::released: return to::released;
  case from::starting: return to::starting;
  case from::running: return to::running;
  case from::ended: return to::ended;
  case from::requeued: return to::requeued;
  case from::cancelled: return to::cancelled;
  case from::node_changed: return to::node;
  case from::finished: return to::note;
  case from::step_started: return to::step_started;
  case from::step_ended: return to::step_ended;
  case from::modified: return to::modified;
  case from::reservation_changed: return to::reservation;
  case from::preempted: return to::preempted;
  }
  return to::note;
}

namespace {

ledger::summary summary_of(const ledger_entry& entry) {
  ledger::summary change;
  if (entry.row) {
    const auto& row = *entry.row;
    change.state = static_cast<std::uint8_t>(row.state);
    if (entry.what == ledger_entry::kind::submitted)
      change.submitted = ledger::submission{entry.uid, row.name, entry.request_id,
                                            std::max(row.elements_total, 1u)};
    if (entry.what == ledger_entry::kind::modified)
      change.resubmits = row.name;
    // The job's own times: a run is as long as it was, whoever set the wall clock meanwhile.
    change.starts = entry.what == ledger_entry::kind::starting;
    if (change.starts)
      change.started_ns = row.started_utc_ns;
    if (entry.finishes) {
      change.ends = true;
      change.ended_ns = row.ended_utc_ns;
      change.exit_code = row.exit_code;
      change.signal = row.signal;
      change.reason = row.reason;
    }
  }
  if (entry.first_promised_utc_ns != 0)
    change.promised =
        ledger::start_promise{entry.first_promised_utc_ns, entry.last_promised_utc_ns};
  if (entry.element_end) {
    const auto& end = *entry.element_end;
    change.elements_done = 1;
    const auto fine = end.state == job_state::completed || end.state == job_state::cancelled;
    change.elements_failed = fine ? 0 : 1;
    if (entry.element != no_element)
      change.element = ledger::element_end{static_cast<std::uint8_t>(end.state),
                                           end.exit_code,
                                           end.signal,
                                           end.started_utc_ns,
                                           end.ended_utc_ns,
                                           end.nodelist};
  }
  return change;
}

} // namespace

ledger::event to_event(ledger_entry& entry) {
  ledger::event event;
  event.job = entry.job;
  event.element = entry.element;
  event.incarnation = entry.incarnation;
  event.kind = to_kind(entry.what);
  if (entry.row || entry.element_end || entry.first_promised_utc_ns != 0)
    event.change = summary_of(entry);
  event.payload = std::move(entry.encoded);
  return event;
}

job_row row_of_submission(job_id job, const submitted_event& event, utc_ns at) {
  const auto& spec = event.spec;
  job_row row;
  row.job = job;
  row.name = spec.name;
  row.user = event.identity.user;
  row.queue = spec.queue;
  row.held = spec.held;
  row.nodes = spec.nodes;
  row.tasks = spec.tasks;
  row.cores_per_task = spec.cores_per_task;
  row.memory_bytes = spec.memory_bytes;
  row.time_limit_s = spec.time_limit_s;
  row.account = spec.account;
  row.gpus_per_task = spec.gpus_per_task;
  row.nice = spec.nice;
  row.submitted_utc_ns = at;
  row.elements_pending = element_count(spec);
  if (spec.array)
    row.elements_total = row.elements_pending;
  return row;
}

void apply_table_row(job_row& row, const ledger::job_row& from) {
  row.job = from.job;
  row.name = from.name;
  row.state = static_cast<job_state>(from.state);
  row.submitted_utc_ns = from.submitted_ns;
  row.started_utc_ns = from.started_ns;
  row.ended_utc_ns = from.ended_ns;
  row.elements_pending = 0;
  row.elements_failed = from.elements_failed;
  row.exit_code = from.exit_code.value_or(0);
  row.signal = from.signal.value_or(0);
  row.reason = from.reason;
}

} // namespace troupe::actors
