// SPDX-License-Identifier: Apache-2.0
#include "runtime/state/locks.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/daemon.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/table.hpp"

#include <array>
#include <climits>
#include <memory>
#include <unistd.h>

// Purpose: look after the ledger: check it, make it again from its events, copy it.
// Action:  of a cluster that is up trouped does it, beside its own work; else a trouped that serves
//          nobody is run for it, in its turn among up, down and purge.
// Caveats: a rebuild is for a cluster that is down: it puts another ledger in the old one's place.

namespace troupe::cli {

namespace {

int tell_check(const invocation& run, const answered<calls::ledger_check::reply>& answer) {
  const auto& found = answer.value;
  if (run.json && !print(answer.json + "\n"))
    return exit_code::failed;
  for (const auto& problem : found.problems)
    notice(run, printable(problem));
  if (!found.good)
    return report(run, {errc::storage, "the ledger is damaged; 'troupe down' and 'troupe ledger "
                                       "rebuild' keep what can be read, or restore a backup"});
  const auto text = "the ledger is whole: " + std::to_string(found.events) + " events of " +
                    std::to_string(found.jobs) + " jobs, " + std::to_string(found.unfinished) +
                    " of them unfinished\n";
  return run.json || print(text) ? exit_code::done : exit_code::failed;
}

int tell_copy(const invocation& run, const answered<calls::ledger_backup::reply>& answer) {
  const auto text = "copied the ledger to " + printable(answer.value.path) + ", " +
                    std::to_string(answer.value.bytes) + " bytes, up to job " +
                    std::to_string(answer.value.highest_job) + "\n";
  return print(run.json ? answer.json + "\n" : text) ? exit_code::done : exit_code::failed;
}

int tell_rebuild(const invocation& run, const answered<calls::ledger_rebuilt>& answer) {
  const auto& kept = answer.value;
  for (const auto& problem : kept.problems)
    notice(run, printable(problem));
  auto text = "made the ledger again: " + std::to_string(kept.events) + " events of " +
              std::to_string(kept.jobs) + " jobs; numbers go on above " +
              std::to_string(kept.highest_job) + "\n";
  if (!kept.former.empty())
    text += "the one before is kept as " + printable(kept.former) + "\n";
  return print(run.json ? answer.json + "\n" : text) ? exit_code::done : exit_code::failed;
}

/// Does it where no trouped serves the directory.
template <class Reply, class Tell>
int care(const invocation& run, const std::string& state, const std::string& action, Tell tell) {
  auto turn = state::take_turn(state, [&](const state::lock_holder& other) {
    notice(run, "waiting for another 'troupe up' or 'troupe down' (" + describe(other) + ")");
  });
  if (!turn)
    return report(run, turn.error());
  auto said = run_daemon_once(state, action);
  if (!said)
    return report(run, said.error());
  said->erase(std::min(said->find('\n'), said->size()));
  auto answer = session::decode<Reply>(std::move(*said));
  return answer ? tell(run, *answer) : report(run, answer.error());
}

template <class Call, class Tell>
int ask_or_care(const invocation& run, const Call& what, Tell tell, const std::string& action) {
  auto state = state_directory();
  if (!state)
    return report(run, state.error());
  if (!is_socket_elsewhere(*state) && !state::daemon_of(*state) &&
      ::access((*state + "/ledger.db").c_str(), F_OK) == 0)
    return care<typename Call::reply>(run, *state, action, tell);
  auto to = session::open(run.capability);
  if (!to)
    return report(run, to.error());
  auto answer = to->call(what);
  return answer ? tell(run, *answer) : report(run, answer.error());
}

int check(const invocation& run) {
  return ask_or_care(run, calls::ledger_check{}, tell_check, "check");
}

int rebuild(const invocation& run) {
  auto state = state_directory();
  if (!state)
    return report(run, state.error());
  if (auto daemon = state::daemon_of(*state))
    return report(run,
                  {errc::conflict, "the cluster of " + *state + " is up (trouped is " +
                                       state::describe(*daemon) + "); run 'troupe down' first"});
  if (::access(state->c_str(), F_OK) != 0)
    return report(run, {errc::not_found, "there is no state directory " + *state});
  return care<calls::ledger_rebuilt>(run, *state, "rebuild", tell_rebuild);
}

expected<std::string> absolute_path(const std::string& file) {
  if (file.starts_with('/'))
    return file;
  std::array<char, PATH_MAX> here{};
  if (::getcwd(here.data(), here.size()) == nullptr)
    return fail(errc::not_found,
                "the current directory cannot be named: " + varlink::system_message(errno) +
                    "; give FILE from the root on");
  return std::string{here.data()} + "/" + file;
}

int backup(const invocation& run, const std::string& file) {
  if (file.empty())
    return report_usage(run, "no file is named; give the new file to copy the ledger to");
  auto path = absolute_path(file);
  if (!path)
    return report(run, path.error());
  return ask_or_care(run, calls::ledger_backup{*path}, tell_copy, "backup=" + *path);
}

} // namespace

void define_ledger(CLI::App& app, invocation& run) {
  app.footer("'rebuild' is for a cluster that is down: it makes the ledger again from the events "
             "that can be read, and keeps the\nold one beside it.");
  app.require_subcommand(1);
  app.fallthrough();
  auto* check_app = app.add_subcommand("check", "read all of the ledger and say what is wrong");
  check_app->final_callback([&run] { run.act = [&run] { return check(run); }; });
  auto* rebuild_app =
      app.add_subcommand("rebuild", "make the ledger again from the events that can be read");
  rebuild_app->final_callback([&run] { run.act = [&run] { return rebuild(run); }; });
}

void define_backup(CLI::App& app, invocation& run) {
  app.footer("The copy is the ledger as it is at one moment; the cluster goes on meanwhile. A file "
             "that exists is never overwritten.\nTo restore: 'troupe down', move ledger.db and "
             "what begins with its name away from the state directory, copy FILE\nthere as "
             "ledger.db, 'troupe ledger rebuild', 'troupe up'.");
  auto file = std::make_shared<std::string>();
  app.add_option("FILE", *file, "the new file")->type_name("");
  run.act = [&run, file] { return backup(run, *file); };
}

} // namespace troupe::cli
