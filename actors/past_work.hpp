// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/scheduler/scheduler.hpp"
#include "runtime/ledger/store.hpp"

#include <map>
#include <tuple>

namespace troupe::actors {

/// What ended jobs tell of their users.
struct past_work {
  std::vector<past_usage>
      usage;                  ///< by user, account and hour (of long ago: day, month), oldest first
  std::vector<past_run> runs; ///< the last few of each user and time limit, oldest first
};

/// Gathers that from the ends in the ledger, in their order. The ledger keeps what was gathered, so
/// that a start reads only what came after it, however long the history is.
class past_work_book {
public:
  /// What is kept, or an empty book.
  static expected<past_work_book> open(ledger::reads& from);

  /// Takes the ends of up to `events_max` further events. False when there are none.
  expected<bool> read_on(ledger::reads& from, std::uint64_t events_max);
  void take(const ended_event& event);

  /// Keeps it in the ledger.
  expected<void> keep(ledger::store& to);

  /// Events that were read since it was kept.
  std::uint64_t events_since_kept() const { return seq_ - kept_seq_; }

  /// All that ended since then.
  past_work since(utc_ns time) const;

private:
  using usage_key = std::tuple<utc_ns, std::string, std::string>; ///< its hour's end, account, user
  using run_key = std::pair<std::string, std::uint32_t>;          ///< user, time limit
  struct run {
    utc_ns ended = 0;
    std::int64_t run_ns = 0;
  };
  struct contents;

  void coarsen();
  void bound_runs();

  std::uint64_t seq_ = 0;      ///< events up to this one are in it
  std::uint64_t kept_seq_ = 0; ///< and up to this one in what is kept
  std::map<usage_key, std::uint64_t> core_us_;
  std::map<run_key, std::vector<run>> runs_;
};

/// What ended since then, from what is kept and what came after it; and keeps that anew when it is
/// much.
expected<past_work> recover_past_work(ledger::store& store, utc_ns since);

} // namespace troupe::actors
