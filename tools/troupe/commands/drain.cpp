// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <memory>

namespace troupe::cli {

namespace {

struct chosen_nodes {
  std::vector<std::string> lists;
  std::string reason;
};

/// Both commands: the nodes named, and what is asked of them.
template <class Make>
int set_nodes(const invocation& run, const chosen_nodes& options, Make make_call) {
  std::vector<std::string> names;
  for (const auto& list : options.lists) {
    auto some = parse_node_list(list);
    if (!some)
      return report_usage(run, some.error().text);
    names.insert(names.end(), some->begin(), some->end());
  }
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(make_call(std::move(names)));
  if (!answer)
    return report(run, answer.error());
  auto text =
      run.json ? answer->json + "\n" : node_table(answer->value.nodes).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

std::shared_ptr<chosen_nodes> add_nodes(CLI::App& app) {
  auto options = std::make_shared<chosen_nodes>();
  app.add_option("NODES", options->lists, "nodes: node1 node[3-5]")->type_name("")->required();
  return options;
}

} // namespace

void define_drain(CLI::App& app, invocation& run) {
  app.footer("What runs there goes on; 'troupe resume' takes the nodes into use again.");
  auto options = add_nodes(app);
  app.add_option("--reason", options->reason, "why; shown by 'troupe nodes'")->type_name("TEXT");
  run.act = [&run, options] {
    return set_nodes(run, *options, [&](std::vector<std::string>&& names) {
      return calls::drain{std::move(names), options->reason};
    });
  };
}

void define_resume(CLI::App& app, invocation& run) {
  auto options = add_nodes(app);
  run.act = [&run, options] {
    return set_nodes(run, *options, [](std::vector<std::string>&& names) {
      return calls::resume{std::move(names)};
    });
  };
}

} // namespace troupe::cli
