// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/published.hpp"

#include <algorithm>
#include <pmix_common.h>

namespace troupe::shepherd {

namespace {

std::size_t size_of(const stored_value& value) {
  return value.key.size() + value.value.size();
}

} // namespace

std::list<published_values::entry>::iterator published_values::find(const std::string& key,
                                                                    const process_name& who) {
  return std::ranges::find_if(entries_, [&](const entry& each) {
    const bool visible =
        each.range != PMIX_RANGE_NAMESPACE || each.value.owner.nspace == who.nspace;
    return visible && each.value.key == key;
  });
}

std::int32_t published_values::publish(const publish_ask& ask) {
  for (const auto& value : ask.values)
    if (find(value.key, ask.owner) != entries_.end())
      return PMIX_ERR_DUPLICATE_KEY;
  std::size_t bytes = 0;
  for (const auto& value : ask.values)
    bytes += size_of(value);
  if (entries_.size() + ask.values.size() > values_all_max || bytes_ + bytes > bytes_all_max)
    return PMIX_ERR_OUT_OF_RESOURCE;
  bytes_ += bytes;
  for (const auto& value : ask.values)
    entries_.push_back({value, ask.range, ask.persistence});
  wake();
  return PMIX_SUCCESS;
}

/// Whether it has answered: with what is there, or with all if all are needed.
bool published_values::answer(const lookup_ask& ask, const lookup_done& done, bool all_needed) {
  std::vector<std::list<entry>::iterator> found;
  for (const auto& key : ask.keys)
    if (const auto at = find(key, ask.who); at != entries_.end())
      found.push_back(at);
    else if (all_needed)
      return false;
  // A key asked for twice is one that may go at its first read.
  std::ranges::sort(found, {}, [](auto at) { return &*at; });
  found.erase(std::unique(found.begin(), found.end()), found.end());
  std::vector<stored_value> values;
  for (const auto at : found) {
    values.push_back(at->value);
    if (at->persistence == PMIX_PERSIST_FIRST_READ) {
      bytes_ -= size_of(at->value);
      entries_.erase(at);
    }
  }
  // Some of the keys are a success: the library (4.2) sends values with no other status.
  const auto status = values.empty() ? PMIX_ERR_NOT_FOUND : PMIX_SUCCESS;
  done(status, std::move(values));
  return true;
}

void published_values::lookup(const lookup_ask& ask, lookup_done done) {
  if (answer(ask, done, ask.waits))
    return;
  if (parked_.size() >= parked_max)
    return done(PMIX_ERR_OUT_OF_RESOURCE, {});
  auto until = steady::time_point::max();
  if (ask.timeout_s != 0)
    until = steady::now() + std::chrono::seconds{ask.timeout_s};
  next_tick_ = std::min(next_tick_, until);
  parked_.push_back({ask, std::move(done), until});
}

/// Answers those whose keys are all there now.
void published_values::wake() {
  for (auto at = parked_.begin(); at != parked_.end();)
    at = answer(at->ask, at->done, true) ? parked_.erase(at) : std::next(at);
}

template <class Condition>
void published_values::remove_where(Condition condition) {
  for (auto at = entries_.begin(); at != entries_.end();) {
    if (!condition(*at)) {
      ++at;
      continue;
    }
    bytes_ -= size_of(at->value);
    at = entries_.erase(at);
  }
}

void published_values::unpublish(const unpublish_ask& ask) {
  remove_where([&](const entry& each) {
    return each.value.owner == ask.owner &&
           (ask.keys.empty() || std::ranges::count(ask.keys, each.value.key) != 0);
  });
}

void published_values::rank_ended(const process_name& who) {
  remove_where([&](const entry& each) {
    return each.value.owner == who && each.persistence == PMIX_PERSIST_PROC;
  });
  std::erase_if(parked_, [&](const parked& each) { return each.ask.who == who; });
}

void published_values::step_ended(const std::string& nspace) {
  remove_where([&](const entry& each) {
    return each.value.owner.nspace == nspace && each.persistence != PMIX_PERSIST_SESSION &&
           each.persistence != PMIX_PERSIST_INDEF;
  });
  std::erase_if(parked_, [&](const parked& each) { return each.ask.who.nspace == nspace; });
}

void published_values::tick(steady::time_point now) {
  if (now < next_tick_)
    return;
  next_tick_ = steady::time_point::max();
  for (auto at = parked_.begin(); at != parked_.end();) {
    if (now < at->until) {
      next_tick_ = std::min(next_tick_, at->until);
      ++at;
      continue;
    }
    at->done(PMIX_ERR_TIMEOUT, {});
    at = parked_.erase(at);
  }
}

} // namespace troupe::shepherd
