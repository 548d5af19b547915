// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/shape.hpp"

#include <sched.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

std::string count(std::uint32_t number, const char* one) {
  return std::to_string(number) + " " + one + (number == 1 ? "" : "s");
}

} // namespace

std::uint32_t machine_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0)
    return static_cast<std::uint32_t>(CPU_COUNT(&set));
  auto online = ::sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? static_cast<std::uint32_t>(online) : 1;
}

state::shape default_shape() {
  return {1, machine_cores(), {}};
}

std::string describe(const state::shape& of) {
  return count(of.nodes, "node") + " with " + count(of.cores, "core") +
         (of.nodes == 1 ? "" : " each");
}

std::string describe_sharing(const state::shape& of) {
  const auto here = machine_cores();
  const auto asked = std::uint64_t{of.nodes} * of.cores;
  if (asked <= here)
    return {};
  return "over-subscribed: its " + std::to_string(asked) + " cores share this machine's " +
         std::to_string(here) + "; jobs will run slower than they would alone";
}

} // namespace troupe::cli
