// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <caf/all.hpp>

namespace troupe::actors {

/// Has the actor that waits for this answer ended? What is kept for it then is kept for nobody.
template <class Answer>
bool asker_is_gone(const caf::typed_response_promise<Answer>& promise) {
  auto copy = promise; // only one that may change shows what it is made of
  const caf::response_promise& asked = copy;
  const auto* asker = caf::actor_cast<caf::abstract_actor*>(asked.source());
  return asker && asker->getf(caf::abstract_actor::is_terminated_flag);
}

} // namespace troupe::actors
