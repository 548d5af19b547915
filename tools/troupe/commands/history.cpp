// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/jobs.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"
#include "tools/troupe/values.hpp"

namespace troupe::cli {

namespace {

struct history_options {
  std::shared_ptr<job_choice> choice;
  std::string since;
  std::string limit = "1000";
  bool estimates = false;
};

std::string summary_line(const estimate_summary& of) {
  if (of.jobs == 0)
    return "no job that waited has started yet\n";
  auto seconds = [](double value) { return format_duration(static_cast<std::int64_t>(value)); };
  return std::to_string(of.jobs) + " jobs, " + std::to_string(of.late) +
         " of them later than first promised (by " + seconds(of.first_error_max_s) +
         " at most); off by " + seconds(of.first_error_abs_median_s) +
         " in the median, the last promise by " + seconds(of.last_error_abs_median_s) + "\n";
}

/// Reads a listing that comes in pieces: `take` gets each.
template <class Method, class Take>
expected<void> read_pieces(session& from, const Method& asked, Take take) {
  if (auto sent = from.start_stream(asked); !sent)
    return sent;
  for (bool more = true; more;) {
    auto piece = from.wire().receive();
    if (!piece)
      return tl::unexpected{piece.error()};
    if (piece->failed)
      return fail(piece->failed->code, piece->failed->message);
    more = piece->continues;
    if (auto taken = take(std::move(piece->parameters)); !taken)
      return taken;
  }
  return {};
}

int list_estimates(const invocation& run, calls::history from) {
  calls::estimates request;
  request.selector = std::move(from.selector);
  request.since_utc_ns = from.since_utc_ns;
  request.rows_max = from.rows_max;
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  calls::estimates::reply all;
  auto done = read_pieces(*to, request, [&](std::string text) -> expected<void> {
    auto piece = session::decode<calls::estimates::reply>(std::move(text));
    if (!piece)
      return tl::unexpected{piece.error()};
    std::move(piece->value.rows.begin(), piece->value.rows.end(), std::back_inserter(all.rows));
    all.summary = piece->value.summary; // the last one's is of all
    return {};
  });
  if (!done)
    return report(run, done.error());
  auto text = run.json
                  ? to_json_text(all, visibility::owner) + "\n"
                  : estimate_table(all.rows).text(terminal_width()) + summary_line(all.summary);
  return print(text) ? exit_code::done : exit_code::failed;
}

int list_history(const invocation& run, const history_options& options) {
  calls::history request;
  auto selector = to_selector(*options.choice);
  if (!selector)
    return report_usage(run, selector.error().text);
  request.selector = std::move(*selector);
  if (!options.since.empty()) {
    auto seconds = parse_duration_s(options.since);
    if (!seconds)
      return report_usage(run, "--since: " + seconds.error().text);
    request.since_utc_ns = system_clock_source{}.utc() - std::int64_t{*seconds} * ns_per_s;
  }
  auto rows_max = parse_number(options.limit, 1, 100'000);
  if (!rows_max)
    return report_usage(run, "--limit: " + rows_max.error().text);
  request.rows_max = static_cast<std::uint32_t>(*rows_max);
  request.brief = !run.json;
  if (options.estimates)
    return list_estimates(run, std::move(request));
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  std::vector<job_row> rows;
  std::string json = "{\"rows\":[";
  auto done = read_pieces(*to, request, [&](std::string text) -> expected<void> {
    if (run.json) {
      append_rows_json(json, text);
      return {};
    }
    auto piece = session::decode<calls::rows_reply>(std::move(text));
    if (!piece)
      return tl::unexpected{piece.error()};
    std::move(piece->value.rows.begin(), piece->value.rows.end(), std::back_inserter(rows));
    return {};
  });
  if (!done)
    return report(run, done.error());
  auto text = run.json ? json + "]}\n" : history_table(rows).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_history(CLI::App& app, invocation& run) {
  auto options = std::make_shared<history_options>();
  options->choice = define_job_choice(app);
  app.add_option("--since", options->since, "only what ended within this time: 2h, 7d")
      ->type_name("TIME");
  app.add_option("--limit", options->limit, "at most this many jobs, the newest (1000)")
      ->type_name("N");
  app.add_flag("--estimates", options->estimates,
               "of jobs that have started: when that had been expected, first and last");
  run.act = [&run, options] { return list_history(run, *options); };
}

} // namespace troupe::cli
