// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/session.hpp"

#include <memory>
#include <nlohmann/json.hpp>

namespace troupe::cli {

namespace {

/// The file that was named, or the one that `troupe up` would take.
expected<std::string> file_to_check(const std::string& named) {
  if (!named.empty())
    return named;
  auto state = state_directory();
  if (!state)
    return tl::unexpected{state.error()};
  return *state + "/troupe.toml";
}

/// Needs no cluster: the file is read here.
int check(const invocation& run, const std::string& named) {
  auto path = file_to_check(named);
  if (!path)
    return report(run, path.error());
  const auto reading = read_config_file(*path);
  if (run.json) {
    const nlohmann::json document{
        {"path", *path}, {"good", reading.config.has_value()}, {"problems", reading.problems}};
    if (!print(document.dump() + "\n"))
      return exit_code::failed;
  }
  for (const auto& problem : reading.problems)
    notice(run, problem);
  if (!reading.config)
    return exit_code::failed;
  return run.json || print(*path + " is good\n") ? exit_code::done : exit_code::failed;
}

template <class Call>
int ask(const invocation& run, const Call& what, bool whole_text) {
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(what);
  if (!answer)
    return report(run, answer.error());
  const auto& shown = answer->value;
  auto text = run.json     ? answer->json + "\n"
              : whole_text ? (shown.path.empty() ? "# no file: all is default\n"
                                                 : "# " + shown.path + "\n") +
                                 shown.text
                           : "in force: " + shown.path + "\n";
  return print(text) ? exit_code::done : exit_code::failed;
}

} // namespace

void define_config(CLI::App& app, invocation& run) {
  app.footer("The configuration is troupe.toml in the state directory, or what 'troupe up "
             "--config' named.\nconfig/troupe.toml explains every key.");
  auto path = std::make_shared<std::string>();
  app.require_subcommand(1);
  app.fallthrough();
  auto* check_app = app.add_subcommand("check", "say what is wrong with a file; changes nothing");
  check_app->add_option("FILE", *path, "the file (troupe.toml in the state directory)")
      ->type_name("");
  check_app->final_callback([&run, path] { run.act = [&run, path] { return check(run, *path); }; });
  auto* show_app = app.add_subcommand("show", "print what is in force, with every default");
  show_app->final_callback(
      [&run] { run.act = [&run] { return ask(run, calls::config_show{}, true); }; });
  auto* reload_app = app.add_subcommand("reload", "read the file again: all of it, or nothing");
  reload_app->final_callback(
      [&run] { run.act = [&run] { return ask(run, calls::config_reload{}, false); }; });
}

} // namespace troupe::cli
