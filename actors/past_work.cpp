// SPDX-License-Identifier: Apache-2.0
#include "actors/past_work.hpp"

#include "messages/cbor.hpp"

#include <algorithm>

namespace troupe::actors {

namespace {

constexpr std::string_view kept_name = "past_work";
constexpr utc_ns hour_ns = 3600 * ns_per_s;
constexpr utc_ns day_ns = 24 * hour_ns;
// Older than these, usage is kept by day and by 30 days: it counts for less and less.
constexpr utc_ns hours_kept_ns = 8 * day_ns;
constexpr utc_ns days_kept_ns = 100 * day_ns;
constexpr utc_ns month_ns = 30 * day_ns;
/// Run times of like jobs that somebody's next one is judged by.
constexpr std::size_t runs_kept = 2;
constexpr std::size_t run_kinds_max = 20'000;
constexpr std::uint64_t events_at_once = 50'000;
/// So many events are quickly read at a start.
constexpr std::uint64_t events_unkept_max = 20'000;

utc_ns end_of(utc_ns time, utc_ns width) {
  return (time / width + 1) * width;
}

struct kept_usage {
  std::string user;
  std::string account;
  utc_ns at = 0;
  std::uint64_t core_us = 0;
  static constexpr auto fields() {
    using s = kept_usage;
    return field_list(field<1>("user", &s::user), field<2>("account", &s::account),
                      field<3>("at", &s::at), field<4>("core_us", &s::core_us));
  }
};

struct kept_run {
  std::string user;
  std::uint32_t time_limit_s = 0;
  utc_ns ended = 0;
  std::int64_t run_ns = 0;
  static constexpr auto fields() {
    using s = kept_run;
    return field_list(field<1>("user", &s::user), field<2>("time_limit_s", &s::time_limit_s),
                      field<3>("ended", &s::ended), field<4>("run_ns", &s::run_ns));
  }
};

} // namespace

struct past_work_book::contents {
  std::vector<kept_usage> usage;
  std::vector<kept_run> runs;
  static constexpr auto fields() {
    using s = contents;
    return field_list(field<1>("usage", &s::usage), field<2>("runs", &s::runs));
  }
};

expected<past_work_book> past_work_book::open(ledger::reads& from) {
  auto kept = from.kept(kept_name);
  if (!kept)
    return tl::unexpected<error>{kept.error()};
  past_work_book book;
  // What cannot be read is gathered again.
  auto found = *kept ? from_cbor<contents>((*kept)->value) : contents{};
  if (!*kept || !found)
    return book;
  book.seq_ = book.kept_seq_ = (*kept)->seq;
  for (auto& each : found->usage)
    book.core_us_[{each.at, std::move(each.account), std::move(each.user)}] += each.core_us;
  for (auto& each : found->runs)
    book.runs_[{std::move(each.user), each.time_limit_s}].push_back({each.ended, each.run_ns});
  return book;
}

expected<bool> past_work_book::read_on(ledger::reads& from, std::uint64_t events_max) {
  auto newest = from.newest_event();
  if (!newest)
    return tl::unexpected<error>{newest.error()};
  // A ledger that was put back has fewer events than what was kept beside another one.
  if (*newest < seq_)
    *this = {};
  if (*newest == seq_)
    return false;
  const auto last = std::min(*newest, seq_ + events_max);
  auto done = from.events_in({seq_ + 1, last}, ledger::event_kind::ended,
                             [&](const ledger::stored_event& stored) {
                               if (auto event = from_cbor<ended_event>(stored.payload))
                                 take(*event);
                             });
  if (!done)
    return tl::unexpected<error>{done.error()};
  seq_ = last;
  return true;
}

void past_work_book::take(const ended_event& event) {
  if (event.cores == 0 || event.started_utc_ns <= 0 || event.ended_utc_ns <= event.started_utc_ns)
    return;
  const auto ran = event.ended_utc_ns - event.started_utc_ns;
  core_us_[{end_of(event.ended_utc_ns, hour_ns), event.account, event.user}] +=
      static_cast<std::uint64_t>(ran / 1000) * event.cores;
  if (!tells_of_its_user(event.exit.state))
    return;
  auto& known = runs_[{event.user, event.time_limit_s}];
  known.push_back({event.ended_utc_ns, ran});
  if (known.size() > runs_kept)
    known.erase(known.begin());
}

/// Buckets of long ago become wider.
void past_work_book::coarsen() {
  if (core_us_.empty())
    return;
  const auto newest = std::get<0>(core_us_.rbegin()->first);
  std::map<usage_key, std::uint64_t> wider;
  for (const auto& [key, core_us] : core_us_) {
    auto at = std::get<0>(key);
    if (at < newest - days_kept_ns)
      at = end_of(at - 1, month_ns);
    else if (at < newest - hours_kept_ns)
      at = end_of(at - 1, day_ns);
    wider[{at, std::get<1>(key), std::get<2>(key)}] += core_us;
  }
  core_us_ = std::move(wider);
}

/// The kinds of jobs whose last run was longest ago are forgotten.
void past_work_book::bound_runs() {
  if (runs_.size() <= run_kinds_max)
    return;
  std::vector<utc_ns> ends;
  for (const auto& [key, known] : runs_)
    ends.push_back(known.back().ended);
  const auto cut = ends.begin() + static_cast<std::ptrdiff_t>(runs_.size() - run_kinds_max);
  std::nth_element(ends.begin(), cut, ends.end());
  std::erase_if(runs_, [&](const auto& each) { return each.second.back().ended < *cut; });
}

expected<void> past_work_book::keep(ledger::store& to) {
  coarsen();
  bound_runs();
  contents all;
  for (const auto& [key, core_us] : core_us_)
    all.usage.push_back({std::get<2>(key), std::get<1>(key), std::get<0>(key), core_us});
  for (const auto& [key, known] : runs_)
    for (const auto& each : known)
      all.runs.push_back({key.first, key.second, each.ended, each.run_ns});
  auto done = to.keep(kept_name, seq_, to_cbor(all));
  if (done)
    kept_seq_ = seq_;
  return done;
}

past_work past_work_book::since(utc_ns time) const {
  past_work result;
  for (auto at = core_us_.lower_bound({time, {}, {}}); at != core_us_.end(); ++at)
    result.usage.push_back({std::get<2>(at->first), std::get<1>(at->first),
                            static_cast<double>(at->second) / 1e6, std::get<0>(at->first)});
  std::vector<std::pair<utc_ns, past_run>> runs;
  for (const auto& [key, known] : runs_)
    for (const auto& each : known)
      if (each.ended >= time)
        runs.push_back({each.ended, {key.first, key.second, each.run_ns}});
  std::stable_sort(runs.begin(), runs.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& each : runs)
    result.runs.push_back(std::move(each.second));
  return result;
}

expected<past_work> recover_past_work(ledger::store& store, utc_ns since) {
  auto book = past_work_book::open(store);
  if (!book)
    return tl::unexpected<error>{book.error()};
  for (bool more = true; more;) {
    auto some = book->read_on(store, events_at_once);
    if (!some)
      return tl::unexpected<error>{some.error()};
    more = *some;
  }
  // Where the disk takes nothing, the next start reads it again.
  if (book->events_since_kept() > events_unkept_max)
    (void)book->keep(store);
  return book->since(since);
}

} // namespace troupe::actors
