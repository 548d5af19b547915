// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/cluster.hpp"
#include "actors/recovery.hpp"
#include "actors/world.hpp"
#include "auth/authority.hpp"
#include "auth/cluster_keys.hpp"
#include "runtime/launch/spawn.hpp"
#include "runtime/state/records.hpp"
#include "runtime/varlink/acceptor.hpp"
#include "tools/trouped/options.hpp"

#include <caf/all.hpp>
#include <memory>

namespace troupe::daemon {

/// What is opened before the actor system starts: files, keys, the launcher. A launcher is started
/// here, while this process is still small.
struct foundation {
  options how;
  system_clock_source clock;
  auth::coarse_clock_source coarse_clock;
  actors::settings settings;
  std::shared_ptr<cluster_config const> config;
  std::vector<std::shared_ptr<node_inventory const>> nodes;
  std::string remark; ///< about over-subscription
  std::shared_ptr<auth::cluster_keys> keys;
  std::shared_ptr<auth::verifier> verifier;
  std::shared_ptr<auth::authority> authority;
  std::string ledger_path;
  std::shared_ptr<ledger::store> store;
  std::shared_ptr<ledger::reader> past; ///< reads beside it
  actors::scheduler_start start;
  launch::launcher_place launcher_place;
  std::shared_ptr<launch::launcher_client> launcher;
  bool launcher_is_new = false; ///< started by this process: it runs nothing yet
};

/// `mark`: what the state directory must have.
expected<std::unique_ptr<foundation>> lay_foundation(const options& how, const state::mark& mark,
                                                     std::shared_ptr<spdlog::logger> log);

/// The running cluster. Its actors end with the system that it was made in.
class private_cluster {
public:
  /// `stopped` is called once from any thread when the cluster has been told to stop and has done
  /// so; `failed` when an actor met a defect.
  static expected<std::unique_ptr<private_cluster>>
  start(caf::actor_system& system, foundation& base, std::shared_ptr<spdlog::logger> log,
        std::function<void()> stopped, std::function<void()> failed);

  /// Stops accepting clients.
  void close_door() { door_.reset(); }

private:
  private_cluster(const clock_source& clock, std::shared_ptr<auth::verifier> checks,
                  std::shared_ptr<spdlog::logger> log, const actors::settings& settings);
  expected<void> spawn_all(caf::actor_system& system, foundation& base,
                           std::function<void()> stopped);

  std::shared_ptr<auth::verifier> verifier_;
  actors::counter_table counters_;
  actors::world world_;
  std::unique_ptr<varlink::acceptor> door_;
};

} // namespace troupe::daemon
