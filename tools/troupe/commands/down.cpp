// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/purge.hpp"
#include "tools/troupe/rows.hpp"
#include "tools/troupe/session.hpp"

#include <csignal>
#include <memory>
#include <poll.h>
#include <sys/syscall.h>

namespace troupe::cli {

namespace {

// Long enough for every job's grace time, and for the ledger to close.
constexpr int gone_within_ms = 60'000;

struct down_options {
  bool purge = false;
};

std::string describe(const calls::stop::reply& what) {
  std::string text;
  for (const auto& row : what.running)
    text += "was still running: " + row_id(row) + " " + printable(row.name) +
            (row.nodelist.empty() ? "" : " on " + printable(row.nodelist)) + "\n";
  if (what.pending > 0)
    text += std::to_string(what.pending) + (what.pending == 1 ? " job was" : " jobs were") +
            " still pending; 'troupe up' finds them again\n";
  return text;
}

/// Waits until the process is gone. A pidfd cannot mean another process that got the number later.
bool wait_until_gone(const unique_fd& process) {
  if (!process)
    return true;
  pollfd wait{process.get(), POLLIN, 0};
  return ::poll(&wait, 1, gone_within_ms) > 0;
}

int purge(const invocation& run) {
  auto state = state_directory();
  if (!state)
    return report(run, state.error());
  auto left = purge_state(*state);
  if (!left)
    return report(run, left.error());
  if (!left->empty())
    return report(run, {errc::conflict, "left " + *state + " in place: " + *left +
                                            " in it is none of Troupe's files"});
  return run.json || print("removed " + *state + "\n") ? exit_code::done : exit_code::failed;
}

int stop(const invocation& run, session to) {
  auto summary = to.call(calls::summary{});
  if (!summary)
    return report(run, summary.error());
  unique_fd process{static_cast<int>(::syscall(SYS_pidfd_open, summary->value.pid, 0))};
  auto stopped = to.call(calls::stop{});
  if (!stopped)
    return report(run, stopped.error());
  if (!wait_until_gone(process))
    return report(run,
                  {errc::conflict, "trouped (process " + std::to_string(summary->value.pid) +
                                       ") has not ended within " +
                                       std::to_string(gone_within_ms / 1000) + " s; see its log"});
  auto text = run.json ? stopped->json + "\n" : describe(stopped->value) + "down\n";
  return print(text) ? exit_code::done : exit_code::failed;
}

int down(const invocation& run, const down_options& options) {
  auto to = session::open(run.capability);
  int exit = exit_code::done;
  if (to)
    exit = stop(run, std::move(*to));
  else if (to.error().code != errc::unreachable)
    exit = report(run, to.error());
  else if (!run.json && !print("no cluster is up\n"))
    exit = exit_code::failed;
  else if (run.json && !print("{\"running\":[],\"pending\":0}\n"))
    exit = exit_code::failed;
  return exit == exit_code::done && options.purge ? purge(run) : exit;
}

} // namespace

void define_down(CLI::App& app, invocation& run) {
  app.footer("Running jobs are ended: SIGTERM, their grace time, SIGKILL. Pending ones are kept "
             "for the next 'troupe up'.");
  auto options = std::make_shared<down_options>();
  app.add_flag("--purge", options->purge, "remove the cluster's state, its history too");
  run.act = [&run, options] { return down(run, *options); };
}

} // namespace troupe::cli
