// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/protocol.hpp"
#include "runtime/ledger/event.hpp"

namespace troupe::actors {

/// The store's form of an entry; `entry.encoded` is moved out of it.
ledger::event to_event(ledger_entry& entry);

ledger::event_kind to_kind(ledger_entry::kind kind);

/// A row as it is when its job has just been submitted.
job_row row_of_submission(job_id job, const submitted_event& event, utc_ns at);

/// What the ledger's table knows of a job, put into a row made from its submission.
void apply_table_row(job_row& row, const ledger::job_row& from);

} // namespace troupe::actors
