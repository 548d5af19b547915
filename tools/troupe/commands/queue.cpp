// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"

namespace troupe::cli {

namespace {

int list_queue(const invocation& run, const job_choice& choice) {
  auto selector = to_selector(choice);
  if (!selector)
    return report_usage(run, selector.error().text);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  if (auto sent = to->start_stream(calls::queue{*selector, !run.json}); !sent)
    return report(run, sent.error());
  const auto now = to->utc();
  auto rows = queue_table();
  std::string json = "{\"rows\":[";
  while (true) {
    auto piece = to->wire().receive();
    if (!piece)
      return report(run, piece.error());
    if (piece->failed)
      return report(run, {piece->failed->code, piece->failed->message});
    if (run.json) {
      append_rows_json(json, piece->parameters);
    } else {
      auto decoded = session::decode<calls::rows_reply>(std::move(piece->parameters));
      if (!decoded)
        return report(run, decoded.error());
      for (const auto& row : decoded->value.rows)
        add_queue_row(rows, row, now);
    }
    if (!piece->continues)
      break;
  }
  return print(run.json ? json + "]}\n" : rows.text(terminal_width())) ? exit_code::done
                                                                       : exit_code::failed;
}

} // namespace

void define_queue(CLI::App& app, invocation& run) {
  app.footer("Jobs that have ended are in 'troupe history'. An array is one row.");
  auto choice = define_job_choice(app);
  run.act = [&run, choice] { return list_queue(run, *choice); };
}

} // namespace troupe::cli
