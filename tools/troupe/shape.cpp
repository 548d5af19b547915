// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/shape.hpp"

#include "base/unique_fd.hpp"
#include "runtime/varlink/socket_address.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sched.h>

namespace troupe::cli {

namespace {

constexpr std::size_t path_bytes_max = 4096;

std::string file_in(const std::string& state_directory) {
  return state_directory + "/shape";
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

shape default_shape() {
  return {1, machine_cores()};
}

std::optional<shape> read_shape(const std::string& state_directory) {
  unique_fd file{::open(file_in(state_directory).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (!file)
    return {};
  std::array<char, 64 + path_bytes_max> text{};
  if (::read(file.get(), text.data(), text.size() - 1) <= 0)
    return {};
  shape result;
  if (std::sscanf(text.data(), "nodes %u cores %u", &result.nodes, &result.cores) != 2 ||
      result.nodes == 0 || result.cores == 0)
    return {};
  const std::string_view all{text.data()};
  constexpr std::string_view key = "\nconfig ";
  if (auto at = all.find(key); at != std::string_view::npos) {
    const auto rest = all.substr(at + key.size());
    result.config = rest.substr(0, rest.find('\n'));
  }
  return result;
}

expected<void> write_shape(const std::string& state_directory, const shape& of) {
  auto path = file_in(state_directory);
  unique_fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600)};
  auto text = "nodes " + std::to_string(of.nodes) + " cores " + std::to_string(of.cores) + "\n";
  if (!of.config.empty())
    text += "config " + of.config + "\n";
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return fail(errc::storage, "cannot write " + path + ": " + varlink::system_message(errno));
  return {};
}

} // namespace troupe::cli
