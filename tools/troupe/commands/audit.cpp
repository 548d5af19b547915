// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"
#include "tools/troupe/values.hpp"

#include <memory>

namespace troupe::cli {

namespace {

int tail(const invocation& run, const std::string& lines) {
  auto count = parse_number(lines, 1, 10'000);
  if (!count)
    return report_usage(run, "-n: " + count.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::audit_tail{static_cast<std::uint32_t>(*count)});
  if (!answer)
    return report(run, answer.error());
  std::string text = run.json ? answer->json + "\n" : std::string{};
  if (!run.json)
    for (const auto& line : answer->value.lines)
      text += printable(line) + "\n";
  return print(text) ? exit_code::done : exit_code::failed;
}

int verify(const invocation& run) {
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(calls::audit_verify{});
  if (!answer)
    return report(run, answer.error());
  const auto& found = answer->value;
  if (run.json && !print(answer->json + "\n"))
    return exit_code::failed;
  if (!found.whole)
    return report(run, {errc::conflict, found.sentence});
  return run.json || print(found.sentence + "\n") ? exit_code::done : exit_code::failed;
}

} // namespace

void define_audit(CLI::App& app, invocation& run) {
  auto lines = std::make_shared<std::string>("20");
  app.require_subcommand(1);
  app.fallthrough();
  auto* tail_app = app.add_subcommand("tail", "print the last records");
  tail_app->add_option("-n,--lines", *lines, "how many (20)")->type_name("N");
  tail_app->final_callback(
      [&run, lines] { run.act = [&run, lines] { return tail(run, *lines); }; });
  auto* verify_app =
      app.add_subcommand("verify", "check that the chain is whole and its checkpoints are signed");
  verify_app->final_callback([&run] { run.act = [&run] { return verify(run); }; });
}

} // namespace troupe::cli
