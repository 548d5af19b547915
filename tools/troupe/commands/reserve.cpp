// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/command.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/values.hpp"

#include <memory>

namespace troupe::cli {

namespace {

struct reserve_options {
  std::string name;
  std::string start = "now";
  std::string duration;
  std::string nodes;
  std::string users;
  std::string accounts;
  std::string reason;
};

template <class Call>
int ask(const invocation& run, const Call& what) {
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(what);
  if (!answer)
    return report(run, answer.error());
  auto text = run.json ? answer->json + "\n"
                       : reservation_table(answer->value.reservations).text(terminal_width());
  return print(text) ? exit_code::done : exit_code::failed;
}

expected<std::vector<std::string>> names_in(const char* option, const std::string& text) {
  if (text.empty())
    return std::vector<std::string>{};
  auto names = parse_names(text, 1024);
  if (!names)
    return fail(errc::invalid, std::string{option} + ": " + names.error().text);
  return names;
}

expected<reservation_row> to_reservation(const reserve_options& options) {
  reservation_row what;
  what.name = options.name;
  what.reason = options.reason;
  const auto now = system_clock_source{}.utc();
  what.start_utc_ns = now;
  if (options.start != "now") {
    auto start = parse_point_in_time(options.start, now);
    if (!start)
      return fail(errc::invalid, "--start: " + start.error().text);
    what.start_utc_ns = *start;
  }
  auto seconds = parse_duration_s(options.duration);
  if (!seconds)
    return fail(errc::invalid, "--duration: " + seconds.error().text);
  what.end_utc_ns = what.start_utc_ns + std::int64_t{*seconds} * ns_per_s;
  auto nodes = parse_node_list(options.nodes);
  if (!nodes)
    return fail(errc::invalid, "--nodes: " + nodes.error().text);
  what.nodes = std::move(*nodes);
  auto users = names_in("--users", options.users);
  auto accounts = names_in("--accounts", options.accounts);
  if (!users || !accounts)
    return tl::unexpected{users ? accounts.error() : users.error()};
  what.users = std::move(*users);
  what.accounts = std::move(*accounts);
  return what;
}

int create(const invocation& run, const reserve_options& options) {
  auto what = to_reservation(options);
  if (!what)
    return report_usage(run, what.error().text);
  return ask(run, calls::reserve{std::move(*what)});
}

} // namespace

void define_reserve(CLI::App& app, invocation& run) {
  app.footer("Jobs use a reservation by 'troupe submit --reservation NAME'; until it ends no other "
             "job starts on its nodes\nthat could still run when it begins. Without --users and "
             "--accounts nobody may: the nodes are kept free.");
  auto options = std::make_shared<reserve_options>();
  app.require_subcommand(1);
  app.fallthrough();
  auto* create_app = app.add_subcommand("create", "keep nodes from one time to another");
  create_app->add_option("NAME", options->name, "its name")->type_name("")->required();
  create_app->add_option("--start", options->start, "now, now+2h, 14:30, 2026-05-01T14:30 (now)")
      ->type_name("T");
  create_app->add_option("--duration", options->duration, "how long: 2h, 1d")
      ->type_name("TIME")
      ->required();
  create_app->add_option("--nodes", options->nodes, "which: node1,node[3-5]")
      ->type_name("NODES")
      ->required();
  create_app->add_option("--users", options->users, "whose jobs may use it: ada,ben")
      ->type_name("USERS");
  create_app->add_option("--accounts", options->accounts, "charged to which accounts")
      ->type_name("ACCOUNTS");
  create_app->add_option("--reason", options->reason, "what for")->type_name("TEXT");
  create_app->final_callback(
      [&run, options] { run.act = [&run, options] { return create(run, *options); }; });
  auto* list_app = app.add_subcommand("list", "list those that have not ended");
  list_app->final_callback(
      [&run] { run.act = [&run] { return ask(run, calls::reservations{}); }; });
  auto* delete_app = app.add_subcommand("delete", "give one up");
  delete_app->add_option("NAME", options->name, "its name")->type_name("")->required();
  delete_app->final_callback([&run, options] {
    run.act = [&run, options] { return ask(run, calls::unreserve{options->name}); };
  });
}

} // namespace troupe::cli
