// SPDX-License-Identifier: Apache-2.0
#include "actors/recovery.hpp"

#include "actors/ledger_codec.hpp"
#include "actors/scheduler/depend.hpp"
#include "messages/cbor.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <tuple>

namespace troupe::actors {

namespace {

/// One job's events, taken in their order.
class story {
public:
  expected<void> take(const ledger::stored_event& stored) {
    using kind = ledger::event_kind;
    switch (stored.kind) {
    case kind::submitted: return submitted(stored);
    case kind::held: job_.birth.row.held = true; break;
    case kind::released: job_.birth.row.held = false; break;
    case kind::starting: return starting(stored);
    case kind::ended: return ended(stored);
    case kind::requeued: return requeued(stored);
    case kind::cancelled: return cancelled(stored);
    case kind::step_started: return step_started(stored);
    case kind::step_ended: return step_ended(stored);
    case kind::modified: return modified(stored);
    case kind::preempted: return preempted(stored);
    default: break;
    }
    return {};
  }

  recovered_job finish() {
    auto& birth = job_.birth;
    apply_cancels();
    std::erase_if(birth.placed, [](const placed_chunk& chunk) {
      return chunk.ended.count() == std::uint64_t{chunk.element_last} - chunk.element_first + 1;
    });
    std::uint64_t left = 0;
    for (const auto& [incarnation, elements] : birth.unstarted)
      left += elements.count();
    birth.row.elements_pending = static_cast<std::uint32_t>(left);
    if (!job_.live)
      birth.event.reset();
    return std::move(job_);
  }

private:
  template <class T>
  expected<T> read(const ledger::stored_event& stored) {
    auto value = from_cbor<T>(stored.payload);
    if (!value)
      return fail(errc::storage, fmt::format("event {} of job {} in the ledger cannot be read: {}",
                                             stored.seq, stored.job, value.error().text));
    return value;
  }

  expected<void> submitted(const ledger::stored_event& stored) {
    auto event = read<submitted_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    auto shared = std::make_shared<submitted_event const>(std::move(*event));
    const auto& spec = shared->spec;
    job_.uid = shared->identity.uid;
    job_.attached = spec.attached;
    job_.birth.job = stored.job;
    job_.birth.row = row_of_submission(stored.job, *shared, stored.time);
    auto& elements = job_.birth.unstarted[1];
    if (spec.array)
      for (const auto& range : spec.array->ranges)
        elements.insert(static_cast<std::uint32_t>(range.first),
                        static_cast<std::uint32_t>(range.last));
    else
      elements.insert(no_element, no_element);
    job_.spec = std::make_shared<job_spec const>(planning_part(spec));
    job_.birth.event = std::move(shared);
    return {};
  }

  /// The whole of what was asked, anew; only what had not started was ever modified.
  expected<void> modified(const ledger::stored_event& stored) {
    const auto held = job_.birth.row.held;
    const auto since = job_.birth.row.submitted_utc_ns;
    auto done = submitted(stored);
    job_.birth.row.held = held;
    job_.birth.row.submitted_utc_ns = since;
    return done;
  }

  /// These were told to end and to wait again.
  expected<void> preempted(const ledger::stored_event& stored) {
    auto event = read<requeued_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    for (auto& chunk : job_.birth.placed)
      if (chunk.incarnation == stored.incarnation && chunk.element_first <= event->element_first &&
          event->element_last <= chunk.element_last) {
        chunk.preempted.insert(event->element_first, event->element_last);
        chunk.preempted_why = event->reason;
      }
    return {};
  }

  /// The planner wants sizes, not arguments and environments.
  static job_spec planning_part(const job_spec& spec) {
    job_spec part = spec;
    part.argv.clear();
    part.env.clear();
    part.script.clear();
    return part;
  }

  expected<void> starting(const ledger::stored_event& stored) {
    auto event = read<starting_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    job_.live = true;
    auto& birth = job_.birth;
    if (birth.row.started_utc_ns == 0)
      birth.row.started_utc_ns = stored.time;
    for (auto& [incarnation, elements] : birth.unstarted)
      elements.erase(event->element_first, event->element_last);
    placed_chunk chunk;
    chunk.incarnation = stored.incarnation;
    chunk.element_first = event->element_first;
    chunk.element_last = event->element_last;
    chunk.starting = std::move(*event);
    birth.placed.push_back(std::move(chunk));
    return {};
  }

  void close(std::uint32_t incarnation, std::uint32_t first, std::uint32_t last) {
    for (auto& chunk : job_.birth.placed) {
      const auto low = std::max(first, chunk.element_first);
      const auto high = std::min(last, chunk.element_last);
      if (chunk.incarnation == incarnation && low <= high)
        chunk.ended.insert(low, high);
    }
  }

  expected<void> ended(const ledger::stored_event& stored) {
    auto event = read<ended_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    job_.live = true;
    close(stored.incarnation, stored.element, stored.element);
    job_.birth.ended.push_back(std::move(event->exit));
    return {};
  }

  expected<void> requeued(const ledger::stored_event& stored) {
    auto event = read<requeued_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    job_.live = true;
    close(stored.incarnation - 1, event->element_first, event->element_last);
    job_.birth.unstarted[stored.incarnation].insert(event->element_first, event->element_last);
    return {};
  }

  expected<void> cancelled(const ledger::stored_event& stored) {
    auto event = read<cancelled_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    job_.live = true;
    for (const auto& range : event->elements) {
      for (auto& [incarnation, elements] : job_.birth.unstarted)
        elements.erase(static_cast<std::uint32_t>(range.first),
                       static_cast<std::uint32_t>(range.last));
      job_.birth.ended.push_back({job_state::cancelled, 0, 0, event->reason});
    }
    for (const auto& range : event->placed)
      cancels_.emplace_back(range, event->reason);
    return {};
  }

  /// Placed elements that were to end: where they still are placed. One whose `starting` was never
  /// written does not start any more.
  void apply_cancels() {
    auto& birth = job_.birth;
    for (const auto& [range, reason] : cancels_) {
      const auto first = static_cast<std::uint32_t>(range.first);
      const auto last = static_cast<std::uint32_t>(range.last);
      for (auto& chunk : birth.placed) {
        const auto low = std::max(first, chunk.element_first);
        const auto high = std::min(last, chunk.element_last);
        if (low > high)
          continue;
        chunk.cancelled.insert(low, high);
        chunk.cancel_reason = reason;
      }
      for (auto& [incarnation, elements] : birth.unstarted) {
        const auto before = elements.count();
        elements.erase(first, last);
        if (elements.count() < before)
          birth.ended.push_back({job_state::cancelled, 0, 0, reason});
      }
    }
  }

  expected<void> step_started(const ledger::stored_event& stored) {
    auto event = read<step_started_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    job_.birth.steps.push_back({stored.incarnation, std::move(*event), {}});
    return {};
  }

  expected<void> step_ended(const ledger::stored_event& stored) {
    auto event = read<step_ended_event>(stored);
    if (!event)
      return tl::unexpected<error>{event.error()};
    for (auto& step : job_.birth.steps)
      if (step.started.step == event->step)
        step.ended = std::move(*event);
    return {};
  }

  recovered_job job_;
  std::vector<std::pair<number_range, std::string>> cancels_;
};

/// Compares each dependency with what has become of the other job.
expected<void> settle_dependencies(ledger::store& store, recovered_job& job) {
  for (const auto& each : job.spec->dependencies) {
    auto table = store.row_of(each.job);
    if (!table && table.error().code != errc::not_found)
      return tl::unexpected<error>{table.error()};
    job_row row;
    if (table)
      apply_table_row(row, *table);
    if (table && is_met(each, row))
      continue;
    if (job.unmet.empty())
      job.unmet = table ? unmet(each, row) : fmt::format("there is no job {}", each.job);
    job.open_dependencies.push_back(each);
  }
  return {};
}

void take_reservation(scheduler_start& to, const ledger::stored_event& stored) {
  auto event = from_cbor<reservation_event>(stored.payload);
  if (!event)
    return;
  if (event->dropped)
    to.reservations.erase(event->what.name);
  else
    to.reservations[event->what.name] = event->what;
}

} // namespace

namespace {

/// Run times of like jobs that somebody's next one is judged by.
constexpr std::size_t runs_kept = 2;

/// The latest run times, told in the order in which they ended.
class run_history {
public:
  void take(const ended_event& event) {
    if (!tells_of_its_user(event.exit.state))
      return;
    auto& known = last_[{event.user, event.time_limit_s}];
    known.push_back({event.ended_utc_ns,
                     {event.user, event.time_limit_s, event.ended_utc_ns - event.started_utc_ns}});
    if (known.size() > runs_kept)
      known.erase(known.begin());
  }

  std::vector<past_run> told() const {
    std::vector<std::pair<utc_ns, past_run>> all;
    for (const auto& [of, known] : last_)
      all.insert(all.end(), known.begin(), known.end());
    std::stable_sort(all.begin(), all.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<past_run> out;
    for (auto& each : all)
      out.push_back(std::move(each.second));
    return out;
  }

private:
  std::map<std::pair<std::string, std::uint32_t>, std::vector<std::pair<utc_ns, past_run>>> last_;
};

} // namespace

expected<past_work> recover_past_work(ledger::store& store, utc_ns since) {
  constexpr utc_ns bucket_ns = 3600 * ns_per_s;
  std::map<std::tuple<std::string, std::string, utc_ns>, double> sums;
  run_history history;
  auto done = store.events_of_kind(
      ledger::event_kind::ended, since, [&](const ledger::stored_event& stored) {
        auto event = from_cbor<ended_event>(stored.payload);
        if (event && event->cores > 0 && event->started_utc_ns > 0 &&
            event->ended_utc_ns > event->started_utc_ns) {
          sums[{event->account, event->user, event->ended_utc_ns / bucket_ns}] +=
              static_cast<double>(event->ended_utc_ns - event->started_utc_ns) / ns_per_s *
              event->cores;
          history.take(*event);
        }
        return true;
      });
  if (!done)
    return tl::unexpected<error>{done.error()};
  past_work result;
  for (const auto& [key, core_seconds] : sums)
    result.usage.push_back(
        {std::get<1>(key), std::get<0>(key), core_seconds, (std::get<2>(key) + 1) * bucket_ns});
  std::sort(result.usage.begin(), result.usage.end(),
            [](const past_usage& a, const past_usage& b) { return a.at < b.at; });
  result.runs = history.told();
  return result;
}

expected<scheduler_start> recover_jobs(ledger::store& store) {
  scheduler_start result;
  std::optional<story> current;
  job_id current_id = 0;
  expected<void> broken;
  auto done = store.load_unfinished([&](const ledger::stored_event& stored) {
    if (stored.job != current_id && current) {
      result.jobs.push_back(current->finish());
      current.reset();
    }
    if (!current) {
      current.emplace();
      current_id = stored.job;
    }
    if (auto ok = current->take(stored); !ok && broken)
      broken = ok;
  });
  if (current)
    result.jobs.push_back(current->finish());
  if (!done)
    return tl::unexpected<error>{done.error()};
  if (!broken)
    return tl::unexpected<error>{broken.error()};
  for (auto& job : result.jobs)
    if (auto settled = settle_dependencies(store, job); !settled)
      return tl::unexpected<error>{settled.error()};
  done = store.events_of(0, [&](const ledger::stored_event& stored) {
    if (stored.kind == ledger::event_kind::reservation)
      take_reservation(result, stored);
    if (stored.kind != ledger::event_kind::node)
      return;
    if (auto event = from_cbor<node_event>(stored.payload)) {
      if (event->state == node_state::up)
        result.nodes.erase(event->node);
      else
        result.nodes[event->node] = *event;
    }
  });
  if (!done)
    return tl::unexpected<error>{done.error()};
  return result;
}

} // namespace troupe::actors
