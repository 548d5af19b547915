// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"
#include "runtime/plan/types.hpp"

#include <map>

namespace troupe::actors {

using node_numbers = std::map<std::string, std::uint32_t, std::less<>>;

plan::node_state to_plan(node_state state);

/// A node as the scheduling core takes it.
plan::node_config node_config_of(const node_inventory& node, node_state state);

/// What one unit of the job needs. Unknown node names were refused at submission.
plan::job_shape shape_of(const job_spec& spec, const node_numbers& nodes);

} // namespace troupe::actors
