// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

// org.troupe.ledger.

namespace troupe::actors {

void client_state::ledger_check(std::string_view, const slot_ptr& slot) {
  forward(to_->keeper, check_ledger{}, slot, [this, slot](ledger_checked& found) {
    answer(slot, calls::ledger_check::reply{found.problems.empty(), found.events, found.jobs,
                                            found.unfinished, found.highest_job,
                                            std::move(found.problems)});
  });
}

void client_state::ledger_backup(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::ledger_backup>(parameters, slot))
    forward(to_->keeper, backup_ledger{call->path}, slot,
            [this, slot, path = call->path](ledger_copied& copied) {
              answer(slot, calls::ledger_backup::reply{path, copied.bytes, copied.highest_job});
            });
}

} // namespace troupe::actors
