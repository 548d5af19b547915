// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/scheduler/scheduler.hpp"
#include "runtime/ledger/store.hpp"

namespace troupe::actors {

/// Folds the ledger's events into what the scheduler starts with: rows for jobs that only wait, and
/// for those of which something was placed or ended all that their actor needs.
expected<scheduler_start> recover_jobs(ledger::store& store);

/// What ended jobs used since then, by user, account and hour, oldest first.
expected<std::vector<past_usage>> recover_usage(ledger::store& store, utc_ns since);

} // namespace troupe::actors
