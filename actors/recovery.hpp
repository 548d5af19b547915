// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/scheduler/scheduler.hpp"
#include "runtime/ledger/store.hpp"

namespace troupe::actors {

/// Folds the ledger's events into what the scheduler starts with: rows for jobs that only wait, and
/// for those of which something was placed or ended all that their actor needs.
expected<scheduler_start> recover_jobs(ledger::store& store);

/// What ended jobs tell of their users.
struct past_work {
  std::vector<past_usage> usage; ///< by user, account and hour, oldest first
  std::vector<past_run> runs;    ///< the last few of each user and time limit, oldest first
};

/// Since then.
expected<past_work> recover_past_work(ledger::store& store, utc_ns since);

} // namespace troupe::actors
