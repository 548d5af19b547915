// SPDX-License-Identifier: Apache-2.0
#include "actors/elements.hpp"
#include "actors/history.hpp"
#include "actors/ledger_codec.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>

// Purpose: which of many jobs or elements have ended, and how; and rows by number.
// Input:   a range of numbers, and where in it to go on.
// Action:  one query of a table per page. What the table of elements does not have, an element that
//          was cancelled before it started and why one failed, is read from the job's events.
// Caveats: each job is authorised by itself.

namespace troupe::actors {

namespace {

exit_report exit_of(const ledger::job_row& row) {
  return {static_cast<job_state>(row.state), row.exit_code.value_or(0), row.signal.value_or(0),
          row.reason};
}

exit_report exit_of(const ledger::element_row& row) {
  return {static_cast<job_state>(row.state), row.exit_code, row.signal, {}};
}

error no_such_job(job_id job) {
  return {errc::not_found, fmt::format("there is no job {}; 'troupe queue' and 'troupe history' "
                                       "list them",
                                       job)};
}

using element_ends = std::map<std::uint32_t, exit_report>;

/// The part of an array that is asked for.
std::vector<number_range> common_part(const array_spec& array, const number_range& asked) {
  std::vector<number_range> common;
  for (const auto& range : array.ranges) {
    const number_range both{std::max(range.first, asked.first), std::min(range.last, asked.last)};
    if (both.first <= both.last)
      common.push_back(both);
  }
  return common;
}

/// What one event adds to the ends of the elements [first, last].
void take_event(const ledger::stored_event& stored, number_range page, element_ends& ends) {
  if (stored.kind == ledger::event_kind::ended) {
    const auto at = ends.find(stored.element);
    if (at == ends.end() || at->second.state == job_state::completed)
      return;
    if (auto ended = from_cbor<ended_event>(stored.payload))
      at->second.reason = std::move(ended->exit.reason);
    return;
  }
  if (stored.kind != ledger::event_kind::cancelled)
    return;
  const auto cancelled = from_cbor<cancelled_event>(stored.payload);
  if (!cancelled)
    return;
  for (const auto& range : cancelled->elements)
    for (auto i = std::max(range.first, page.first); i <= std::min(range.last, page.last); ++i)
      ends.try_emplace(static_cast<std::uint32_t>(i),
                       exit_report{job_state::cancelled, 0, 0, cancelled->reason});
}

} // namespace

rows_found history_state::rows(request<query_rows>& what) {
  rows_found result;
  for (auto job : what.msg.jobs) {
    if (result.rows.size() == query_rows::jobs_max) {
      result.rows.push_back(fail(errc::exhausted, "too many jobs are asked for at once"));
      continue;
    }
    auto table = from_->row_of(job);
    if (!table) {
      result.rows.push_back(tl::unexpected<error>{
          table.error().code == errc::not_found ? no_such_job(job) : table.error()});
      continue;
    }
    if (auto ok = what.cap.permits(verb::history_read, verb::history_read_any, table->uid, job,
                                   world_.clock.now());
        !ok) {
      if (world_.audit_refusal)
        world_.audit_refusal(typeid(query_rows).name(), what.cap, ok.error());
      result.rows.push_back(tl::unexpected<error>{ok.error()});
      continue;
    }
    job_row row;
    apply_table_row(row, *table);
    result.rows.push_back(std::move(row));
  }
  return result;
}

caf::result<ends_found> history_state::ends(request<query_ends>& what) {
  return what.msg.elements ? ends_of_elements(what) : ends_of_jobs(what);
}

caf::result<ends_found> history_state::ends_of_jobs(request<query_ends>& what) {
  const auto& asked = what.msg;
  const auto first = std::max(asked.first, asked.from);
  if (asked.last < first)
    return ends_found{};
  const auto last = std::min(asked.last, first + (query_ends::jobs_per_page - 1));
  std::map<job_id, ledger::job_row> rows;
  ledger::filter which;
  which.jobs = {{first, last}};
  which.limit = query_ends::jobs_per_page;
  auto done = from_->history(which, [&](const ledger::job_row& row) { rows[row.job] = row; });
  if (!done)
    return auth::to_caf(done.error());
  ends_found found;
  for (auto job = first;; ++job) {
    const auto at = rows.find(job);
    if (at == rows.end())
      return auth::to_caf(no_such_job(job));
    const auto& row = at->second;
    if (auto ok = what.cap.permits(verb::history_read, verb::history_read_any, row.uid, job,
                                   world_.clock.now());
        !ok)
      return auth::to_caf(ok.error());
    if (is_final(static_cast<job_state>(row.state)))
      found.ends.push_back({job, no_element, exit_of(row), 0, row.ended_ns, row.started_ns});
    else
      found.unfinished.push_back(job);
    if (job == last)
      break;
  }
  if (last < asked.last)
    found.next = last + 1;
  return found;
}

caf::result<ends_found> history_state::ends_of_elements(request<query_ends>& what) {
  const auto& asked = what.msg;
  const auto job = asked.first;
  auto known = look_up(what.cap, job, verb::history_read, verb::history_read_any);
  if (!known)
    return known.error();
  const auto& array = known->event->spec.array;
  if (auto ok = check_elements(job, array, {*asked.elements}); !ok)
    return auth::to_caf(ok.error());
  ends_found found;
  found.elements = common_part(*array, *asked.elements);
  const auto begin = std::max(found.elements.front().first, asked.from);
  const auto end = found.elements.back().last;
  if (end < begin)
    return found;
  const number_range page{begin, std::min(end, begin + (query_ends::elements_per_page - 1))};
  auto ends = read_ends(job, page);
  if (!ends)
    return auth::to_caf(ends.error());
  const auto over = is_final(known->row.state);
  // What has no end of its own in an array that is over was cancelled with it.
  const exit_report with_all{job_state::cancelled, 0, 0, known->row.reason};
  for (const auto& range : found.elements)
    for (auto i = std::max(range.first, page.first); i <= std::min(range.last, page.last); ++i) {
      const auto at = ends->find(static_cast<std::uint32_t>(i));
      if (at != ends->end() || over)
        found.ends.push_back({job, static_cast<std::uint32_t>(i),
                              at != ends->end() ? std::move(at->second) : with_all});
    }
  if (page.last < end)
    found.next = page.last + 1;
  return found;
}

expected<std::map<std::uint32_t, exit_report>> history_state::read_ends(job_id job,
                                                                        number_range page) {
  element_ends ends;
  auto done = from_->elements_of(job, {page.first, page.last}, [&](const ledger::element_row& row) {
    ends[row.element] = exit_of(row);
  });
  if (!done)
    return tl::unexpected<error>{done.error()};
  const auto all_completed = ends.size() == page.last - page.first + 1 &&
                             std::all_of(ends.begin(), ends.end(), [](const auto& each) {
                               return each.second.state == job_state::completed;
                             });
  if (all_completed)
    return ends;
  done = from_->events_of(
      job, [&](const ledger::stored_event& stored) { take_event(stored, page, ends); });
  if (!done)
    return tl::unexpected<error>{done.error()};
  return ends;
}

} // namespace troupe::actors
