// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <memory>

namespace troupe::cli {

namespace {

struct resume_options {
  std::vector<std::string> nodes;
};

int resume_nodes(const invocation& run, const resume_options& options) {
  std::vector<std::string> names;
  for (const auto& list : options.nodes) {
    auto some = parse_node_list(list);
    if (!some)
      return report_usage(run, some.error().text);
    names.insert(names.end(), some->begin(), some->end());
  }
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::resume{std::move(names)});
  if (!answer)
    return report(run, answer.error());
  auto text =
      run.json ? answer->json + "\n" : node_table(answer->value.nodes).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_resume(CLI::App& app, invocation& run) {
  auto options = std::make_shared<resume_options>();
  app.add_option("NODES", options->nodes, "nodes: node1 node[3-5]")->type_name("")->required();
  run.act = [&run, options] { return resume_nodes(run, *options); };
}

} // namespace troupe::cli
