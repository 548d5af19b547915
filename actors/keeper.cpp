// SPDX-License-Identifier: Apache-2.0
#include "actors/keeper.hpp"

#include "runtime/ledger/care.hpp"

#include <fmt/format.h>

namespace troupe::actors {

keeper_state::keeper_state(self_pointer, world& around) : world_{around} {}

keeper_actor::behavior_type keeper_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<keeper_actor>(
      guard, on<get_status>([this](request<get_status>&) {
        status_report report;
        report.actor = name;
        report.items.push_back({"checks", std::to_string(checks_)});
        report.items.push_back({"backups", std::to_string(copies_)});
        return report;
      }),
      on<check_ledger>([this](request<check_ledger>&) {
        ++checks_;
        return check();
      }),
      on<backup_ledger>([this](request<backup_ledger>& what) {
        ++copies_;
        return copy(what.msg);
      }));
}

std::string keeper_state::ledger_path() const {
  return world_.config.state_directory + "/ledger.db";
}

expected<ledger_checked> keeper_state::check() const {
  auto found = ledger::check_ledger(ledger_path());
  if (!found)
    return tl::unexpected<error>{found.error()};
  return ledger_checked{found->events, found->jobs, found->unfinished, found->highest_job,
                        std::move(found->problems)};
}

expected<ledger_copied> keeper_state::copy(const backup_ledger& what) const {
  if (what.path.empty() || what.path.front() != '/')
    return fail(errc::invalid, fmt::format("'{}' is no absolute path", what.path));
  auto copied = ledger::copy_ledger(ledger_path(), what.path);
  if (!copied)
    return tl::unexpected<error>{copied.error()};
  world_.log->info("ledger: copied to {}, {} bytes", what.path, copied->bytes);
  return ledger_copied{copied->bytes, copied->highest_job};
}

} // namespace troupe::actors
