// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "messages/shepherd.hpp"
#include "tools/shepherd/rank_output.hpp"

#include <algorithm>
#include <map>
#include <memory>

namespace troupe::shepherd {

/// One of the step's ranks on this node.
struct local_rank {
  bool told = false; ///< its stub has its environment
  bool connected = false;
  bool finalised = false;
  bool ended = false;
  std::int32_t pid = 0;
  std::unique_ptr<rank_output> output, error_output;
  unique_fd alive; ///< readable once its process is gone; where its failure is to be told
};

/// A step that is registered here.
struct step_state {
  register_step about;
  bool ready = false; ///< PMIx has taken note of it: ranks may start
  std::string directory;
  std::string shared_directory;
  std::vector<local_rank> ranks;
  std::map<std::string, std::string> key_values; ///< PMI-1's, this node's view
  std::size_t key_value_bytes = 0;

  /// The rank's program where the step has several, else nullptr: then it is the order's.
  const step_app* app_of(std::uint32_t rank) const {
    const auto at = std::ranges::find_if(
        about.apps, [&](const step_app& each) { return rank - each.rank_first < each.rank_count; });
    return about.apps.size() < 2 || at == about.apps.end() ? nullptr : &*at;
  }
  const step_node& own_node() const { return about.nodes[about.node_index]; }
  process_name name_of(std::uint32_t rank) const { return {about.nspace, rank}; }

  std::uint32_t rank_of(std::uint32_t local) const {
    const auto& node = own_node();
    return local < node.ranks.size() ? node.ranks[local] : node.rank_first + local;
  }
  /// The rank's place in `ranks`, or nullptr where it is not on this node.
  local_rank* find(std::uint32_t rank) {
    const auto local = local_of(own_node(), rank);
    return local < ranks.size() ? &ranks[local] : nullptr;
  }
  /// The node of a rank; nodes.size() where there is no such rank.
  std::uint32_t node_of(std::uint32_t rank) const {
    const auto at = std::ranges::find_if(
        about.nodes, [&](const step_node& node) { return local_of(node, rank) < node.rank_count; });
    return static_cast<std::uint32_t>(at - about.nodes.begin());
  }

  static std::uint32_t local_of(const step_node& node, std::uint32_t rank) {
    if (node.ranks.empty())
      return rank >= node.rank_first ? rank - node.rank_first : node.rank_count;
    const auto at = std::ranges::find(node.ranks, rank);
    return static_cast<std::uint32_t>(at - node.ranks.begin());
  }
};

/// The steps of the job, by number and by namespace.
class step_table {
public:
  step_state& add(register_step about) {
    auto state = std::make_unique<step_state>();
    state->ranks.resize(about.nodes[about.node_index].rank_count);
    state->about = std::move(about);
    auto& slot = steps_[state->about.step];
    slot = std::move(state);
    return *slot;
  }
  step_state* find(std::uint32_t step) {
    const auto at = steps_.find(step);
    return at == steps_.end() ? nullptr : at->second.get();
  }
  step_state* find(const std::string& nspace) {
    for (auto& [number, state] : steps_)
      if (state->about.nspace == nspace)
        return state.get();
    return nullptr;
  }
  void remove(std::uint32_t step) { steps_.erase(step); }
  const std::map<std::uint32_t, std::unique_ptr<step_state>>& all() const { return steps_; }

  /// Nodes where any of these processes is, ascending; empty where one of them is not known.
  std::vector<std::uint32_t> nodes_of(const std::vector<process_name>& processes);
  /// The node that keeps what a step and those of its spawn family publish.
  std::uint32_t keeper_of(const std::string& nspace);
  /// Nodes that have ranks of any step, and so a shepherd.
  std::vector<std::uint32_t> nodes_with_ranks() const;

private:
  std::map<std::uint32_t, std::unique_ptr<step_state>> steps_;
};

/// What is wrong with a description, or empty.
std::string fault_of(const register_step& about);

/// The environment that a rank needs beyond its own: see tools/stub/protocol.hpp.
std::vector<std::string> base_environment(const step_state& step, std::uint32_t local);
/// Of another runtime's daemon: what the ranks that it starts need on this node.
std::vector<std::string> rte_environment(const step_state& step);
std::vector<std::string> pmi1_environment(const step_state& step, std::uint32_t local);

/// PMI_process_mapping: "(vector,(0,2,4))", which says which ranks share a node.
std::string process_mapping(const step_state& step);

} // namespace troupe::shepherd
