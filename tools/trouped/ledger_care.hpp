// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/trouped/options.hpp"

namespace troupe::daemon {

/// Looks after the ledger of a cluster that is down, as `how.ledger` says, and serves nobody. Says
/// one line: on standard output what came of it, as JSON, or on standard error why nothing did.
int care_for_ledger(const options& how);

} // namespace troupe::daemon
