// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <memory>

namespace troupe::cli {

namespace {

struct drain_options {
  std::vector<std::string> nodes;
  std::string reason;
};

int drain_nodes(const invocation& run, const drain_options& options) {
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
  auto answer = to->call(calls::drain{std::move(names), options.reason});
  if (!answer)
    return report(run, answer.error());
  auto text =
      run.json ? answer->json + "\n" : node_table(answer->value.nodes).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_drain(CLI::App& app, invocation& run) {
  app.footer("What runs there goes on; 'troupe resume' takes the nodes into use again.");
  auto options = std::make_shared<drain_options>();
  app.add_option("NODES", options->nodes, "nodes: node1 node[3-5]")->type_name("")->required();
  app.add_option("--reason", options->reason, "why; shown by 'troupe nodes'")->type_name("TEXT");
  run.act = [&run, options] { return drain_nodes(run, *options); };
}

} // namespace troupe::cli
