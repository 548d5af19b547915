// SPDX-License-Identifier: Apache-2.0
#include "config/cluster_config.hpp"

#include <algorithm>
#include <array>

namespace troupe {

namespace {

template <class Range>
auto* named(Range& range, std::string_view name) {
  auto at =
      std::find_if(range.begin(), range.end(), [&](const auto& each) { return each.name == name; });
  return at == range.end() ? nullptr : &*at;
}

} // namespace

const queue_config* cluster_config::find_queue(std::string_view name) const {
  return named(queues, name);
}

const account_config* cluster_config::find_account(std::string_view name) const {
  return named(accounts, name);
}

const account_config* cluster_config::default_account_of(std::string_view user) const {
  for (const auto& account : accounts)
    if (std::find(account.users.begin(), account.users.end(), user) != account.users.end())
      return &account;
  return nullptr;
}

usage_limits cluster_config::limits_of(std::string_view user) const {
  for (const auto& [name, limits] : users)
    if (name == user)
      return limits;
  return each_user;
}

std::span<const std::string_view> order_names() {
  static constexpr std::array<std::string_view, 9> names{"fcfs", "sjf", "wfp3", "unicef",  "f1",
                                                         "f2",   "f3",  "f4",   "slowdown"};
  return names;
}

cluster_config default_config() {
  cluster_config config;
  queue_config main;
  main.name = config.default_queue;
  config.queues.push_back(std::move(main));
  return config;
}

error to_error(const std::vector<std::string>& problems) {
  if (problems.empty())
    return {errc::internal, "nothing is wrong with the configuration"};
  auto text = problems.front();
  if (problems.size() > 1)
    text +=
        " (and " + std::to_string(problems.size() - 1) + " more; 'troupe config check' lists them)";
  return {errc::invalid, std::move(text)};
}

} // namespace troupe
