// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// What an administrator decides: troupe.toml, read, checked, and whole. Every value has a default,
// so that an empty file is a configuration: one queue, first come first served, EASY backfill.

namespace troupe {

inline constexpr std::size_t config_bytes_max = 1u << 20;
inline constexpr std::size_t queues_max = 64;
inline constexpr std::size_t accounts_max = 10'000;
inline constexpr std::size_t configured_users_max = 10'000;
inline constexpr std::size_t configured_nodes_max = 64;
inline constexpr std::int32_t queue_priority_max = 1'000'000;
inline constexpr std::uint32_t weight_max = 1'000'000;
inline constexpr std::uint32_t reserved_jobs_max = 10'000;

/// The orders of `plan::queue_order`, by name.
std::span<const std::string_view> order_names();

/// How many jobs and cores somebody may have; 0 is no limit.
struct usage_limits {
  std::uint32_t jobs_max = 0;    ///< unfinished
  std::uint32_t running_max = 0; ///< at once
  std::uint32_t cores_max = 0;   ///< in use at once

  bool operator==(const usage_limits&) const = default;
};

struct queue_config {
  std::string name;
  std::int32_t priority = 0;
  std::uint32_t time_default_s = 0; ///< of jobs that name no time; 0: none
  std::uint32_t time_max_s = 0;     ///< 0: no limit
  usage_limits all;                 ///< of all its jobs together
  usage_limits each_user;           ///< of one user's jobs in it
  std::vector<std::string> users;   ///< who may use it; with `groups` empty: everyone
  std::vector<std::string> groups;
  std::vector<std::uint32_t> group_ids; ///< of `groups`, on this machine
  std::vector<std::string> preempts;    ///< queues whose running jobs may be ended for this one's
  std::uint32_t grace_s = 30;           ///< that its jobs get to end when they are preempted

  bool operator==(const queue_config&) const = default;
};

/// What a job's priority is made of; the formula is that of `plan::priority_config`.
struct priority_config {
  std::uint32_t age = 0; ///< per `age_period_s` of waiting
  std::uint32_t age_period_s = 7 * 86'400;
  std::uint32_t size = 0;       ///< times the share of the cluster's cores that it asks for
  std::uint32_t queue = 1;      ///< times its queue's priority
  std::uint32_t fair_share = 0; ///< times its account's factor, 0 to 1
  std::uint32_t nice = 1;       ///< times its nice value, taken away

  bool operator==(const priority_config&) const = default;
};

struct account_config {
  std::string name;
  std::string parent; ///< "": below the root
  std::uint32_t shares = 1;
  std::vector<std::string> users; ///< who may charge it; a user's first account is the default

  bool operator==(const account_config&) const = default;
};

struct scheduling_config {
  bool backfill = true;
  std::uint32_t reservations = 100; ///< so many blocked jobs have one that backfill respects
  std::string order = "fcfs";       ///< among jobs of equal priority: one of `order_names`
  std::string backfill_order = "fcfs";
  std::uint32_t overtake_limit_s = 0; ///< after so long a wait a job goes first; 0: never

  bool operator==(const scheduling_config&) const = default;
};

/// What a node's machine does not tell of itself.
struct node_extras {
  std::string name;
  std::optional<std::uint32_t> gpus; ///< instead of those that are found
  std::vector<std::string> features;

  bool operator==(const node_extras&) const = default;
};

struct cluster_config {
  std::string path;                 ///< of its file; "": there is none, all is default
  std::vector<queue_config> queues; ///< in the file's order, at least one
  std::string default_queue = "main";
  scheduling_config scheduling;
  priority_config priority;
  std::uint32_t half_life_s = 14 * 86'400; ///< after which usage counts half; 0: it counts for ever
  std::vector<account_config> accounts;    ///< parents before children
  usage_limits each_user;                  ///< in all queues together
  std::vector<std::pair<std::string, usage_limits>> users; ///< instead of `each_user`
  std::vector<node_extras> nodes;

  const queue_config* find_queue(std::string_view name) const;
  const account_config* find_account(std::string_view name) const;
  /// The account that a user's jobs are charged to when they name none; nullptr: none.
  const account_config* default_account_of(std::string_view user) const;
  usage_limits limits_of(std::string_view user) const;

  bool operator==(const cluster_config&) const = default;
};

/// Without a file.
cluster_config default_config();

/// What was read: a configuration, or every reason why it is none ("troupe.toml:12: queues.main.
/// time_max: '5 parsecs' is no time; …").
struct config_reading {
  std::optional<cluster_config> config;
  std::vector<std::string> problems;
};

config_reading read_config(std::string_view text, const std::string& path);

/// The same from a file. A file that cannot be read is a problem, too.
config_reading read_config_file(const std::string& path);

/// One error of all problems: the first one, and how many more there are.
error to_error(const std::vector<std::string>& problems);

/// The configuration as TOML, complete with what was left to its default; reading it gives the
/// same.
std::string to_toml(const cluster_config& config);

} // namespace troupe
