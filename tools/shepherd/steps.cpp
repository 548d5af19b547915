// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/steps.hpp"

#include <ifaddrs.h>
#include <net/if.h>
#include <set>
#include <sstream>
#include <sys/socket.h>

namespace troupe::shepherd {

namespace {

constexpr std::uint32_t every_rank = 0xfffffffe; // PMIX_RANK_WILDCARD

/// Variables of another launcher's job (an mpirun or a shepherd around this one): inherited, they
/// would send the rank there. Settings of the user's (OMPI_MCA_btl, PMIX_MCA_…) stay.
constexpr const char foreign_variables[] =
    "PMIX_NAMESPACE PMIX_RANK PMIX_SERVER_* PMIX_SECURITY_MODE PMIX_BFROP_* PMIX_GDS_MODULE "
    "PMIX_HOSTNAME PMIX_VERSION PMIX_SYSTEM_TMPDIR PMIX_ID PMIX_DVM_* PMIX_LAUNCHER_* "
    "PMIX_KEEPALIVE_PIPE PMI_* PMI2_* MPI_LOCALRANKID MPI_LOCALNRANKS OMPI_MCA_orte_* "
    "OMPI_MCA_ess* OMPI_MCA_pmix* OMPI_MCA_mpi_oversubscribe OMPI_MCA_initial_* "
    "OMPI_COMM_WORLD_* OMPI_UNIVERSE_SIZE OMPI_APP_CTX_* OMPI_FIRST_RANKS OMPI_FILE_LOCATION "
    "OMPI_NUM_APP_CTX OMPI_ARGV OMPI_COMMAND PRTE_LAUNCHED";

/// Whether this host has no network but the loopback's.
bool has_only_loopback() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0)
    return false;
  bool only = true;
  for (const auto* at = first; at != nullptr && only; at = at->ifa_next) {
    const bool internet = at->ifa_addr != nullptr && at->ifa_addr->sa_family == AF_INET;
    only = !internet || (at->ifa_flags & IFF_UP) == 0 || (at->ifa_flags & IFF_LOOPBACK) != 0;
  }
  ::freeifaddrs(first);
  return only;
}

/// What Open MPI needs where virtual nodes share a host.
void add_host_settings(const step_state& step, std::vector<std::string>& env) {
  // They share the names of these files.
  env.push_back("OMPI_MCA_btl_vader_backing_directory=" + step.shared_directory);
  env.push_back("OMPI_MCA_btl_sm_backing_directory=" + step.shared_directory);
  // Open MPI 5 asks the kernel for a route between them, and takes the loopback for none.
  env.emplace_back("OMPI_MCA_reachable=weighted");
  // Ranks that spin while they wait take the core from the one they wait for.
  if (step.about.shares_cores)
    env.emplace_back("OMPI_MCA_mpi_yield_when_idle=1");
  // Open MPI leaves the loopback out; virtual nodes of a host without a network have nothing else.
  if (has_only_loopback())
    env.emplace_back("OMPI_MCA_btl_tcp_if_include=lo");
}

} // namespace

std::vector<std::uint32_t> step_table::nodes_of(const std::vector<process_name>& processes) {
  std::set<std::uint32_t> nodes;
  for (const auto& each : processes) {
    const auto* step = find(each.nspace);
    if (step == nullptr)
      return {};
    if (each.rank != every_rank) {
      const auto node = step->node_of(each.rank);
      if (node >= step->about.nodes.size())
        return {};
      nodes.insert(node);
      continue;
    }
    for (std::uint32_t i = 0; i < step->about.nodes.size(); ++i)
      if (step->about.nodes[i].rank_count != 0)
        nodes.insert(i);
  }
  return {nodes.begin(), nodes.end()};
}

std::uint32_t step_table::keeper_of(const std::string& nspace) {
  const auto* step = find(nspace);
  return step == nullptr ? 0 : step->about.keeper;
}

std::vector<std::uint32_t> step_table::nodes_with_ranks() const {
  std::set<std::uint32_t> nodes;
  for (const auto& [number, step] : steps_)
    for (std::uint32_t i = 0; i < step->about.nodes.size(); ++i)
      if (step->about.nodes[i].rank_count != 0)
        nodes.insert(i);
  return {nodes.begin(), nodes.end()};
}

std::string fault_of(const register_step& about) {
  if (about.nspace.empty())
    return "it has no namespace";
  if (about.keeper >= about.nodes.size())
    return "node " + std::to_string(about.keeper) + " of " + std::to_string(about.nodes.size()) +
           " is to keep what it publishes";
  if (about.node_index >= about.nodes.size())
    return "this node is number " + std::to_string(about.node_index) + " of " +
           std::to_string(about.nodes.size());
  std::uint64_t ranks = 0;
  for (const auto& node : about.nodes) {
    ranks += node.rank_count;
    if (node.name.empty() || node.rank_count > ranks_per_node_max ||
        (!node.ranks.empty() && node.ranks.size() != node.rank_count))
      return "its node '" + node.name + "' has no name or not as many ranks as it says";
  }
  if (ranks != about.ranks_total)
    return "its nodes have " + std::to_string(ranks) + " ranks instead of " +
           std::to_string(about.ranks_total);
  return {};
}

std::vector<std::string> base_environment(const step_state& step, std::uint32_t local) {
  std::vector<std::string> env;
  std::istringstream foreign{foreign_variables};
  for (std::string name; foreign >> name;)
    env.push_back(name);
  const auto local_size = std::to_string(step.own_node().rank_count);
  // What scripts around MPI programs look at to choose a device.
  env.push_back("OMPI_COMM_WORLD_RANK=" + std::to_string(step.rank_of(local)));
  env.push_back("OMPI_COMM_WORLD_SIZE=" + std::to_string(step.about.ranks_total));
  env.push_back("OMPI_COMM_WORLD_LOCAL_RANK=" + std::to_string(local));
  env.push_back("OMPI_COMM_WORLD_LOCAL_SIZE=" + local_size);
  env.push_back("MPI_LOCALRANKID=" + std::to_string(local));
  env.push_back("MPI_LOCALNRANKS=" + local_size);
  // Open MPI 4 heeds PMIx only below a launcher it knows: this is the one that asks nothing else.
  env.emplace_back("JSM_JSRUN_PORT=1");
  add_host_settings(step, env);
  return env;
}

std::vector<std::string> rte_environment(const step_state& step) {
  std::vector<std::string> env;
  add_host_settings(step, env);
  // Daemons on nodes that share a host would meet in one session directory.
  env.push_back("OMPI_MCA_orte_tmpdir_base=" + step.directory);
  env.push_back("PRTE_MCA_prte_tmpdir_base=" + step.directory);
  return env;
}

std::vector<std::string> pmi1_environment(const step_state& step, std::uint32_t local) {
  std::vector<std::string> env;
  env.emplace_back("PMI_FD=");
  env.push_back("PMI_RANK=" + std::to_string(step.rank_of(local)));
  env.push_back("PMI_SIZE=" + std::to_string(step.about.ranks_total));
  if (step.about.parent)
    env.emplace_back("PMI_SPAWNED=1");
  return env;
}

std::string process_mapping(const step_state& step) {
  struct block {
    std::uint32_t node, nodes, ranks;
  };
  std::vector<std::uint32_t> node_of(step.about.ranks_total);
  for (std::uint32_t i = 0; i < step.about.nodes.size(); ++i) {
    const auto& node = step.about.nodes[i];
    for (std::uint32_t local = 0; local < node.rank_count; ++local) {
      const auto rank = node.ranks.empty() ? node.rank_first + local : node.ranks[local];
      if (rank < node_of.size())
        node_of[rank] = i;
    }
  }
  std::vector<block> blocks;
  for (std::size_t first = 0; first < node_of.size();) {
    auto end = first;
    while (end < node_of.size() && node_of[end] == node_of[first])
      ++end;
    const auto ranks = static_cast<std::uint32_t>(end - first);
    const bool continues = !blocks.empty() && blocks.back().ranks == ranks &&
                           blocks.back().node + blocks.back().nodes == node_of[first];
    if (continues)
      ++blocks.back().nodes;
    else
      blocks.push_back({node_of[first], 1, ranks});
    first = end;
  }
  std::string text = "(vector";
  for (const auto& each : blocks)
    text += ",(" + std::to_string(each.node) + "," + std::to_string(each.nodes) + "," +
            std::to_string(each.ranks) + ")";
  return text + ")";
}

} // namespace troupe::shepherd
