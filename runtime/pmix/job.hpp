// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/shepherd.hpp"
#include "runtime/pmix/handles.hpp"

// A step as OpenPMIx wants to hear of it: the "job" of its register_nspace.

namespace troupe::pmix {

/// What a registration says beyond the agent's description.
struct job_places {
  std::string directory;                     ///< of the job's session on this node
  std::string step_directory;                ///< of the step in it
  std::vector<std::string> rank_directories; ///< per local rank
};

/// The rank of a node's i-th process of the step.
std::uint32_t rank_at(const shepherd::step_node& node, std::uint32_t local);

/// The ranks of a node, "4,5,6".
std::string ranks_text(const shepherd::step_node& node);

/// PMIX_CPUSET and PMIX_LOCALITY_STRING of a CPU list; both empty where it cannot be said.
struct binding_texts {
  std::string cpuset;
  std::string locality;
};
binding_texts describe_binding(const std::string& cpu_list);

/// All that is said of the step: node and process maps, sizes, and each rank's place.
info_list job_infos(const shepherd::register_step& step, const job_places& places);

} // namespace troupe::pmix
