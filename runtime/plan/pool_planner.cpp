// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan/pool_planner.hpp"

#include "runtime/plan/pool_conservative.hpp"
#include "runtime/plan/pool_easy.hpp"

#include <array>
#include <string>

namespace troupe::plan {

namespace {

constexpr std::array<std::string_view, 4> policy_names{"fcfs", "easy", "conservative", "slowdown"};

} // namespace

std::string_view to_string(pool_policy policy) {
  return policy_names[static_cast<std::size_t>(policy)];
}

std::optional<pool_policy> pool_policy_named(std::string_view name) {
  auto at = std::find(policy_names.begin(), policy_names.end(), name);
  if (at == policy_names.end())
    return std::nullopt;
  return static_cast<pool_policy>(at - policy_names.begin());
}

expected<std::unique_ptr<pool_planner>> make_pool_planner(const pool_config& config) {
  if (config.processors == 0)
    return fail(errc::invalid, "a machine without processors runs nothing; give it at least one");
  if (config.policy == pool_policy::conservative)
    return std::make_unique<conservative_pool>(config);
  if (config.policy == pool_policy::slowdown) {
    auto ours = config;
    ours.order = ours.backfill_order = queue_order::slowdown;
    return std::make_unique<easy_pool>(ours);
  }
  return std::make_unique<easy_pool>(config);
}

expected<void> check_pool_job(const pool_job& job, std::uint32_t processors, std::size_t number) {
  auto refuse = [&job](const std::string& why) {
    return fail(errc::invalid, "job number " + std::to_string(job.number) + why);
  };
  if (job.number != number)
    return refuse(" is out of turn; the next one is " + std::to_string(number));
  if (job.processors == 0 || job.processors > processors)
    return refuse(" needs " + std::to_string(job.processors) + " processors; the machine has " +
                  std::to_string(processors) + ": leave it out");
  if (job.estimate < 1)
    return refuse(" has an estimate of " + std::to_string(job.estimate) + "; give at least 1");
  return {};
}

} // namespace troupe::plan
