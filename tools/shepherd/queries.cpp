// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/shepherd.hpp"

// PMIx_Query_info about the job itself.

namespace troupe::shepherd {

namespace {

/// An array of pmix_proc_info_t that frees itself.
class process_table {
public:
  process_table(const step_state& step, bool only_local) {
    for (std::uint32_t node = 0; node < step.about.nodes.size(); ++node)
      if (!only_local || node == step.about.node_index)
        add_node(step, node);
    array_ = {PMIX_PROC_INFO, infos_.size(), infos_.data()};
  }
  process_table(const process_table&) = delete;
  process_table& operator=(const process_table&) = delete;
  ~process_table() {
    for (auto& info : infos_)
      PMIX_PROC_INFO_DESTRUCT(&info);
  }
  pmix_data_array_t& array() { return array_; }

private:
  void add_node(const step_state& step, std::uint32_t index) {
    const auto& node = step.about.nodes[index];
    for (std::uint32_t i = 0; i < node.rank_count; ++i) {
      auto& info = infos_.emplace_back();
      PMIX_PROC_INFO_CONSTRUCT(&info);
      const pmix::c_process name{step.name_of(pmix::rank_at(node, i))};
      info.proc = *name.get();
      info.hostname = ::strdup(node.name.c_str());
      if (!step.about.apps.empty() && !step.about.apps.front().argv.empty())
        info.executable_name = ::strdup(step.about.apps.front().argv.front().c_str());
      info.state = PMIX_PROC_STATE_RUNNING;
      if (index != step.about.node_index || i >= step.ranks.size())
        continue;
      info.pid = step.ranks[i].pid;
      if (step.ranks[i].ended)
        info.state = PMIX_PROC_STATE_TERMINATED;
    }
  }

  std::vector<pmix_proc_info_t> infos_;
  pmix_data_array_t array_{};
};

void answer_key(const std::string& key, const step_table& steps, step_state& step,
                pmix::info_list& out) {
  if (key == PMIX_QUERY_NAMESPACES) {
    std::string names;
    for (const auto& [number, each] : steps.all())
      names += (names.empty() ? "" : ",") + each->about.nspace;
    out.text(PMIX_QUERY_NAMESPACES, names);
  } else if (key == PMIX_JOB_SIZE) {
    out.number(PMIX_JOB_SIZE, step.about.ranks_total);
  } else if (key == PMIX_UNIV_SIZE) {
    out.number(PMIX_UNIV_SIZE, std::max(step.about.universe_size, step.about.ranks_total));
  } else if (key == PMIX_QUERY_PROC_TABLE || key == PMIX_QUERY_LOCAL_PROC_TABLE) {
    process_table table{step, key == PMIX_QUERY_LOCAL_PROC_TABLE};
    out.array(key.c_str(), table.array());
  }
}

} // namespace

void shepherd::handle(pmix::query_request call) {
  pmix::info_list infos;
  std::size_t asked = 0;
  for (const auto& each : call.queries) {
    asked += each.keys.size();
    auto* step = steps_.find(each.nspace.value_or(call.who.nspace));
    // The library (4.2) names itself as the one who asks: the job's oldest step is meant then.
    if (step == nullptr && !each.nspace && !steps_.all().empty())
      step = steps_.all().begin()->second.get();
    if (step == nullptr)
      continue;
    for (const auto& key : each.keys)
      answer_key(key, steps_, *step, infos);
  }
  const auto found = infos.size();
  const auto status = found == 0      ? PMIX_ERR_NOT_FOUND
                      : found < asked ? PMIX_QUERY_PARTIAL_SUCCESS
                                      : PMIX_SUCCESS;
  call.answer(status, std::move(infos));
}

} // namespace troupe::shepherd
