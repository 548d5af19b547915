// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/scheduler/scheduler.hpp"
#include "runtime/ledger/store.hpp"

namespace troupe::actors {

/// Folds the ledger's events into what the scheduler starts with: rows for jobs that only wait, and
/// for those of which something was placed or ended all that their actor needs.
expected<scheduler_start> recover_jobs(ledger::store& store);

/// So many cores a node that leaves is said to have at most.
inline constexpr std::size_t leaving_cores_max = 1024;

/// Nodes on which jobs still have something, as the ledger tells, and that are not among `nodes`:
/// an earlier shape of the cluster had them. Which units of the machine their cores were is not
/// known any more: what starts there as a step of such a job may use all.
std::vector<std::shared_ptr<node_inventory const>>
leaving_nodes(const scheduler_start& start,
              const std::vector<std::shared_ptr<node_inventory const>>& nodes);

} // namespace troupe::actors
