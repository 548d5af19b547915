// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"

namespace troupe::cli {

namespace {

int list_nodes(const invocation& run) {
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::nodes{});
  if (!answer)
    return report(run, answer.error());
  auto text =
      run.json ? answer->json + "\n" : node_table(answer->value.nodes).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_nodes(CLI::App& app, invocation& run) {
  (void)app;
  run.act = [&run] { return list_nodes(run); };
}

} // namespace troupe::cli
