// SPDX-License-Identifier: Apache-2.0
#include "runtime/pmix/job.hpp"

#include <hwloc.h>

namespace troupe::pmix {

namespace {

class cpu_bitmap {
public:
  explicit cpu_bitmap(const std::string& cpu_list) : map_{hwloc_bitmap_alloc()} {
    valid_ = map_ != nullptr && hwloc_bitmap_list_sscanf(map_, cpu_list.c_str()) == 0 &&
             hwloc_bitmap_iszero(map_) == 0;
  }
  cpu_bitmap(const cpu_bitmap&) = delete;
  cpu_bitmap& operator=(const cpu_bitmap&) = delete;
  ~cpu_bitmap() { hwloc_bitmap_free(map_); }
  bool valid() const { return valid_; }
  hwloc_bitmap_t get() const { return map_; }

private:
  hwloc_bitmap_t map_;
  bool valid_ = false;
};

std::string take(char* text) {
  const c_text owned{text};
  return owned ? std::string{owned.get()} : std::string{};
}

std::string node_map(const shepherd::register_step& step) {
  std::string names;
  for (const auto& node : step.nodes)
    if (node.rank_count != 0)
      names += (names.empty() ? "" : ",") + node.name;
  char* regex = nullptr;
  return PMIx_generate_regex(names.c_str(), &regex) == PMIX_SUCCESS ? take(regex) : std::string{};
}

std::string process_map(const shepherd::register_step& step) {
  std::string ranks;
  for (const auto& node : step.nodes)
    if (node.rank_count != 0)
      ranks += (ranks.empty() ? "" : ";") + ranks_text(node);
  char* regex = nullptr;
  return PMIx_generate_ppn(ranks.c_str(), &regex) == PMIX_SUCCESS ? take(regex) : std::string{};
}

std::uint32_t app_of(const shepherd::register_step& step, std::uint32_t rank) {
  for (std::uint32_t i = 0; i < step.apps.size(); ++i)
    if (rank - step.apps[i].rank_first < step.apps[i].rank_count)
      return i;
  return 0;
}

/// Where a rank is, and for a rank of this node what it is bound to.
info_list rank_infos(const shepherd::register_step& step, const job_places& places,
                     std::uint32_t node_index, std::uint32_t local) {
  const auto& node = step.nodes[node_index];
  const auto rank = rank_at(node, local);
  const auto app = app_of(step, rank);
  info_list infos;
  infos.rank(PMIX_RANK, rank);
  infos.rank(PMIX_GLOBAL_RANK, rank);
  infos.rank(PMIX_APP_RANK, step.apps.empty() ? rank : rank - step.apps[app].rank_first);
  infos.number(PMIX_APPNUM, app);
  infos.small_number(PMIX_LOCAL_RANK, static_cast<std::uint16_t>(local));
  infos.small_number(PMIX_NODE_RANK, static_cast<std::uint16_t>(local));
  infos.text(PMIX_HOSTNAME, node.name);
  infos.number(PMIX_NODEID, node_index);
  infos.number(PMIX_REINCARNATION, 0);
  if (node_index != step.node_index)
    return infos;
  if (local < places.rank_directories.size())
    infos.text(PMIX_PROCDIR, places.rank_directories[local]);
  if (local < step.cpusets.size() && !step.cpusets[local].empty()) {
    const auto binding = describe_binding(step.cpusets[local]);
    if (!binding.cpuset.empty())
      infos.text(PMIX_CPUSET, binding.cpuset);
    if (!binding.locality.empty())
      infos.text(PMIX_LOCALITY_STRING, binding.locality);
  }
  return infos;
}

void add_sizes(info_list& infos, const shepherd::register_step& step) {
  std::uint32_t nodes = 0;
  for (const auto& node : step.nodes)
    nodes += node.rank_count != 0 ? 1 : 0;
  const auto universe = std::max(step.universe_size, step.ranks_total);
  infos.number(PMIX_JOB_SIZE, step.ranks_total);
  infos.number(PMIX_MAX_PROCS, universe);
  infos.number(PMIX_UNIV_SIZE, universe);
  infos.number(PMIX_NUM_NODES, nodes);
  infos.number(PMIX_JOB_NUM_APPS,
               static_cast<std::uint32_t>(std::max<std::size_t>(step.apps.size(), 1)));
  infos.rank(PMIX_NPROC_OFFSET, 0);
}

void add_own_node(info_list& infos, const shepherd::register_step& step, const job_places& places) {
  const auto& node = step.nodes[step.node_index];
  infos.text(PMIX_HOSTNAME, node.name);
  infos.number(PMIX_NODEID, step.node_index);
  infos.number(PMIX_NODE_SIZE, node.rank_count);
  infos.number(PMIX_LOCAL_SIZE, node.rank_count);
  infos.text(PMIX_TMPDIR, places.directory);
  infos.text(PMIX_NSDIR, places.step_directory);
  infos.flag(PMIX_TDIR_RMCLEAN, true);
  if (node.rank_count == 0)
    return;
  infos.text(PMIX_LOCAL_PEERS, ranks_text(node));
  infos.rank(PMIX_LOCALLDR, rank_at(node, 0));
}

} // namespace

std::uint32_t rank_at(const shepherd::step_node& node, std::uint32_t local) {
  return local < node.ranks.size() ? node.ranks[local] : node.rank_first + local;
}

std::string ranks_text(const shepherd::step_node& node) {
  std::string text;
  for (std::uint32_t i = 0; i < node.rank_count; ++i)
    text += (i == 0 ? "" : ",") + std::to_string(rank_at(node, i));
  return text;
}

binding_texts describe_binding(const std::string& cpu_list) {
  const cpu_bitmap bitmap{cpu_list};
  binding_texts texts;
  if (!bitmap.valid())
    return texts;
  pmix_cpuset_t cpuset{const_cast<char*>("hwloc"), bitmap.get()};
  char* text = nullptr;
  if (PMIx_server_generate_cpuset_string(&cpuset, &text) == PMIX_SUCCESS)
    texts.cpuset = take(text);
  text = nullptr;
  if (PMIx_server_generate_locality_string(&cpuset, &text) == PMIX_SUCCESS)
    texts.locality = take(text);
  return texts;
}

info_list job_infos(const shepherd::register_step& step, const job_places& places) {
  info_list infos;
  infos.text(PMIX_JOBID, step.nspace);
  infos.number(PMIX_SESSION_ID, static_cast<std::uint32_t>(step.job));
  infos.text(PMIX_NODE_MAP, node_map(step));
  infos.text(PMIX_PROC_MAP, process_map(step));
  add_sizes(infos, step);
  add_own_node(infos, step, places);
  infos.flag(PMIX_SPAWNED, step.parent.has_value());
  if (step.parent)
    infos.process_value(PMIX_PARENT_ID, *step.parent);
  for (std::uint32_t node = 0; node < step.nodes.size(); ++node)
    for (std::uint32_t i = 0; i < step.nodes[node].rank_count; ++i)
      infos.list(PMIX_PROC_DATA, rank_infos(step, places, node, i));
  return infos;
}

} // namespace troupe::pmix
