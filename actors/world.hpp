// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/counters.hpp"
#include "auth/verifier.hpp"
#include "base/clock.hpp"
#include "messages/protocol.hpp"

#include <functional>
#include <memory>
#include <spdlog/logger.h>
#include <string>

namespace troupe::actors {

/// What the controller's actors are told of the machine and of the state directory.
struct settings {
  std::string cluster_name;
  std::string version;
  std::string state_directory;
  std::string spool_directory;
  std::string socket_path;
  std::uint32_t attached_grace_s = 60; ///< an attached job without a follower ends after this
  std::uint32_t unanswered_max = 2048; ///< calls per connection that wait for their answer
  std::uint64_t spool_stream_bytes_max = 256ull << 20;
};

/// What every actor is handed: time, the verifier, the counters, the log. Outlives all actors.
struct world {
  const clock_source& clock;
  auth::verifier& verifier;
  counter_table& counters;
  std::shared_ptr<spdlog::logger> log;
  settings config;
  /// What timers are sent under.
  auth::verified_capability timer_cap;
  /// An actor failed by a defect: the process has to start over; any thread.
  std::function<void(const std::string& actor, const std::string& why)> on_failure;
  /// Puts a refusal into the audit chain; any thread.
  std::function<void(const char* message_type, const auth::verified_capability& cap,
                     const auth::refusal& why)>
      audit_refusal;
};

} // namespace troupe::actors
