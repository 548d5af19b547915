// SPDX-License-Identifier: Apache-2.0
#include "tools/trouped/ledger_care.hpp"

#include "auth/audit_jobs.hpp"
#include "messages/calls.hpp"
#include "messages/json.hpp"
#include "runtime/ledger/care.hpp"
#include "runtime/state/locks.hpp"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>

namespace troupe::daemon {

namespace {

constexpr std::string_view backup_action = "backup=";

/// The highest job that left output: its number is used.
std::uint64_t job_seen_in(const std::string& spool) {
  namespace files = std::filesystem;
  std::uint64_t highest = 0;
  std::error_code ignored;
  for (files::directory_iterator owner{spool, ignored}, end; owner != end; owner.increment(ignored))
    for (files::directory_iterator job{owner->path(), ignored}; job != end;
         job.increment(ignored)) {
      const auto name = job->path().filename().string();
      std::uint64_t number = 0;
      std::from_chars(name.data(), name.data() + name.size(), number);
      highest = std::max(highest, number);
    }
  return highest;
}

expected<std::string> check(const std::string& path) {
  auto found = ledger::check_ledger(path);
  if (!found)
    return tl::unexpected<error>{found.error()};
  return to_json_text(calls::ledger_check::reply{found->good(), found->events, found->jobs,
                                                 found->unfinished, found->highest_job,
                                                 std::move(found->problems)},
                      visibility::owner);
}

/// No number that is known to have been given out, by whatever is beside the ledger, comes again.
expected<std::string> rebuild(const std::string& path, const std::string& state) {
  const auto audited = auth::jobs_in_audit(state + "/audit.log", ~std::uint64_t{0});
  if (!audited)
    return tl::unexpected<error>{audited.error()};
  auto kept = ledger::rebuild_ledger(
      path, std::max({job_seen_in(state + "/spool"), audited->numbered, audited->ordered}));
  if (!kept)
    return tl::unexpected<error>{kept.error()};
  return to_json_text(calls::ledger_rebuilt{kept->events, kept->jobs, kept->highest_job,
                                            std::move(kept->former), std::move(kept->problems)},
                      visibility::owner);
}

expected<std::string> backup(const std::string& path, const std::string& to) {
  auto copied = ledger::copy_ledger(path, to);
  if (!copied)
    return tl::unexpected<error>{copied.error()};
  return to_json_text(calls::ledger_backup::reply{to, copied->bytes, copied->highest_job},
                      visibility::owner);
}

} // namespace

int care_for_ledger(const options& how) {
  const auto path = how.state + "/ledger.db";
  auto lock = state::become_daemon(how.state);
  auto done = [&]() -> expected<std::string> {
    if (!lock)
      return tl::unexpected<error>{lock.error()};
    if (how.ledger == "check")
      return check(path);
    if (how.ledger == "rebuild")
      return rebuild(path, how.state);
    if (how.ledger.starts_with(backup_action))
      return backup(path, how.ledger.substr(backup_action.size()));
    return fail(errc::invalid, fmt::format("--ledger: '{}' is no action; they are check, rebuild "
                                           "and backup=FILE",
                                           how.ledger));
  }();
  if (!done) {
    std::fprintf(stderr, "%s\n", done.error().text.c_str());
    return 1;
  }
  return std::puts(done->c_str()) < 0 ? 1 : 0;
}

} // namespace troupe::daemon
