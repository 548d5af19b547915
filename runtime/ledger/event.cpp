// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/event.hpp"

namespace troupe::ledger {

const char* to_string(event_kind kind) {
  switch (kind) {
  case event_kind::submitted: return "submitted";
  case event_kind::held: return "held";
  case event_kind::released: return "released";
  case event_kind::starting: return "starting";
  case event_kind::running: return "running";
  case event_kind::ended: return "ended";
  case event_kind::requeued: return "requeued";
  case event_kind::cancelled: return "cancelled";
  case event_kind::lost: return "lost";
  case event_kind::modified: return "modified";
  case event_kind::note: return "note";
  case event_kind::node: return "node";
  case event_kind::step_started: return "step_started";
  case event_kind::step_ended: return "step_ended";
  case event_kind::reservation: return "reservation";
  case event_kind::preempted: return "preempted";
  }
  return "unknown";
}

} // namespace troupe::ledger
