// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"

namespace troupe::cli {

namespace {

int list_queues(const invocation& run) {
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::queues{});
  if (!answer)
    return report(run, answer.error());
  auto text =
      run.json ? answer->json + "\n" : queues_table(answer->value.queues).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_queues(CLI::App& app, invocation& run) {
  app.footer("The default queue has a star. TIME is what jobs get that name none, LIMIT the most "
             "they may ask for,\nJOBS how many may be in the queue, AT ONCE and CORES how much of "
             "them may run.");
  run.act = [&run] { return list_queues(run); };
}

} // namespace troupe::cli
