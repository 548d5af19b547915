// SPDX-License-Identifier: Apache-2.0
#include "messages/types.hpp"

#include "messages/cbor.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <sodium.h>
#include <utility>

namespace troupe {

namespace {

/// The names of an enumeration's values, from 0 on.
template <class E, std::size_t N>
bool find_name(const std::array<const char*, N>& names, std::string_view text, E& value) {
  for (std::size_t i = 0; i < N; ++i) {
    if (text == names[i]) {
      value = static_cast<E>(i);
      return true;
    }
  }
  return false;
}

template <class E, std::size_t N>
const char* name_of(const std::array<const char*, N>& names, E value) {
  auto index = static_cast<std::size_t>(value);
  return index < N ? names[index] : "unknown";
}

constexpr std::array bind_names{"none", "core", "socket"};
constexpr std::array map_names{"slot", "core", "node"};
constexpr std::array mpi_names{"none", "pmix", "pmi1", "rte"};
constexpr std::array dependency_names{"after", "afterany", "afterok", "afternotok"};
constexpr std::array job_state_names{"pending", "starting",  "running",   "completing", "completed",
                                     "failed",  "cancelled", "timed_out", "lost"};
constexpr std::array node_state_names{"up", "draining", "drained", "down", "leaving"};
constexpr std::array verbosity_names{"info", "detailed", "debug"};

expected<void> invalid(std::string text) {
  return fail(errc::invalid, std::move(text));
}

expected<void> check_text(std::string_view what, std::string_view text, std::size_t bytes_max) {
  if (text.size() > bytes_max)
    return invalid(
        fmt::format("{} has {} bytes; at most {} are allowed", what, text.size(), bytes_max));
  if (text.find('\0') != std::string_view::npos)
    return invalid(fmt::format("{} contains a NUL byte", what));
  return {};
}

expected<void> check_command(const job_spec& spec) {
  if (spec.argv.empty() || spec.argv.front().empty())
    return invalid("no command is given: name a program or a script to run");
  if (spec.argv.size() > arguments_max)
    return invalid(fmt::format("the command has {} arguments; at most {} are allowed",
                               spec.argv.size(), arguments_max));
  for (std::size_t i = 0; i < spec.argv.size(); ++i)
    if (auto ok = check_text(fmt::format("argument {}", i), spec.argv[i], string_bytes_max); !ok)
      return ok;
  return check_text("the script", spec.script, script_bytes_max);
}

expected<void> check_environment(const std::vector<std::string>& env) {
  if (env.size() > arguments_max)
    return invalid(fmt::format("the environment has {} variables; at most {} are allowed",
                               env.size(), arguments_max));
  std::string_view before;
  for (const auto& variable : env) {
    auto key = std::string_view{variable}.substr(0, variable.find('='));
    if (key.empty() || key.size() == variable.size())
      return invalid(
          fmt::format("environment variable '{:.40}' is not of the form KEY=VALUE", variable));
    if (auto ok = check_text(fmt::format("environment variable '{:.40}'", key), variable,
                             string_bytes_max);
        !ok)
      return ok;
    if (!before.empty() && !(before < key))
      return invalid(fmt::format("environment variable '{:.40}' is given twice or out of order; "
                                 "variables are sorted by name",
                                 key));
    before = key;
  }
  return {};
}

expected<void> check_array(const array_spec& array) {
  if (array.ranges.empty())
    return invalid("the array names no element; give a range such as 1-100");
  std::uint64_t next = 0;
  for (const auto& range : array.ranges) {
    if (range.last < range.first)
      return invalid(
          fmt::format("array range {}-{} ends before it begins", range.first, range.last));
    if (range.first < next)
      return invalid(fmt::format("array element {} is named twice or out of order", range.first));
    if (range.last > element_max)
      return invalid(
          fmt::format("array element {} is beyond the highest, {}", range.last, element_max));
    next = range.last + 1;
  }
  return {};
}

expected<void> check_size(const job_spec& spec) {
  if (spec.tasks == 0 || spec.tasks > tasks_max)
    return invalid(
        fmt::format("{} tasks are asked for; 1 to {} are allowed", spec.tasks, tasks_max));
  if (spec.cores_per_task == 0 || spec.cores_per_task > 4096)
    return invalid(
        fmt::format("{} cores per task are asked for; 1 to 4096 are allowed", spec.cores_per_task));
  if (spec.nodes > nodes_max)
    return invalid(
        fmt::format("{} nodes are asked for; at most {} are allowed", spec.nodes, nodes_max));
  if (spec.nodes > spec.tasks)
    return invalid(fmt::format("{} nodes are asked for, but only {} task{}: each node needs one; "
                               "give -n {} or more",
                               spec.nodes, spec.tasks, spec.tasks == 1 ? "" : "s", spec.nodes));
  if (spec.gpus_per_task > gpus_per_node_max)
    return invalid(fmt::format("{} GPUs per task are asked for; at most {} are allowed",
                               spec.gpus_per_task, gpus_per_node_max));
  if (spec.nice < -nice_max || spec.nice > nice_max)
    return invalid(fmt::format("a nice value of {} is asked for; {} to {} are allowed", spec.nice,
                               -nice_max, nice_max));
  if (spec.grace_s > 3600)
    return invalid(
        fmt::format("a grace time of {} s is asked for; at most 3600 s are allowed", spec.grace_s));
  return {};
}

expected<void> check_features(const std::vector<std::string>& features) {
  if (features.size() > features_max)
    return invalid(fmt::format("{} features are asked for; at most {} are allowed", features.size(),
                               features_max));
  for (const auto& feature : features)
    if (feature.empty() || feature.size() > name_bytes_max)
      return invalid(fmt::format("a feature's name has {} bytes; 1 to {} are allowed",
                                 feature.size(), name_bytes_max));
  return {};
}

expected<void> check_dependencies(const std::vector<job_dependency>& dependencies) {
  if (dependencies.size() > dependencies_max)
    return invalid(fmt::format("the job depends on {} others; at most {} are allowed",
                               dependencies.size(), dependencies_max));
  for (const auto& each : dependencies)
    if (each.job == 0)
      return invalid("the job depends on job 0, which there never is");
  return {};
}

} // namespace

std::string format_id(job_id job, std::uint32_t element) {
  return element == no_element ? fmt::format("{}", job) : fmt::format("{}_{}", job, element);
}

const char* to_string(bind_mode mode) {
  return name_of(bind_names, mode);
}
bool from_string(std::string_view text, bind_mode& mode) {
  return find_name(bind_names, text, mode);
}

const char* to_string(map_mode mode) {
  return name_of(map_names, mode);
}
bool from_string(std::string_view text, map_mode& mode) {
  return find_name(map_names, text, mode);
}

const char* to_string(mpi_mode mode) {
  return name_of(mpi_names, mode);
}
bool from_string(std::string_view text, mpi_mode& mode) {
  return find_name(mpi_names, text, mode);
}

const char* to_string(dependency_kind kind) {
  return name_of(dependency_names, kind);
}
bool from_string(std::string_view text, dependency_kind& kind) {
  return find_name(dependency_names, text, kind);
}

const char* to_string(job_state state) {
  return name_of(job_state_names, state);
}
bool from_string(std::string_view text, job_state& state) {
  return find_name(job_state_names, text, state);
}
bool is_final(job_state state) {
  return state >= job_state::completed;
}

const char* to_string(node_state state) {
  return name_of(node_state_names, state);
}
bool from_string(std::string_view text, node_state& state) {
  return find_name(node_state_names, text, state);
}

const char* to_string(status_verbosity verbosity) {
  return name_of(verbosity_names, verbosity);
}
bool from_string(std::string_view text, status_verbosity& verbosity) {
  return find_name(verbosity_names, text, verbosity);
}

digest spec_digest(const job_spec& spec) {
  static constexpr std::string_view domain = "troupe/job/v1";
  auto encoded = to_cbor(spec);
  digest result;
  ::crypto_generichash(result.data(), result.size(), encoded.data(), encoded.size(),
                       as_bytes(domain).data(), domain.size());
  return result;
}

expected<void> validate(const job_spec& spec) {
  auto path = [&](std::string_view what, std::string_view text) {
    return check_text(what, text, path_bytes_max);
  };
  auto name = [&](std::string_view what, std::string_view text) {
    return check_text(what, text, name_bytes_max);
  };
  for (auto step :
       {name("the job's name", spec.name), name("the account", spec.account),
        name("the queue", spec.queue), path("the working directory", spec.cwd),
        path("the input file's name", spec.stdin_path),
        path("the output file's name", spec.stdout_path),
        path("the error file's name", spec.stderr_path), name("the reservation", spec.reservation),
        check_features(spec.features), check_dependencies(spec.dependencies)})
    if (!step)
      return step;
  if (spec.cwd.empty() || spec.cwd.front() != '/')
    return invalid(fmt::format("the working directory '{}' is no absolute path", spec.cwd));
  if (auto ok = check_command(spec); !ok)
    return ok;
  if (spec.mpi != mpi_mode::none && !spec.script.empty())
    return invalid("MPI ranks cannot be a script; start MPI programs from within it with 'troupe "
                   "run', or give the program itself");
  if (spec.step_of != 0 && (spec.array || spec.batch || spec.held || spec.begin_utc_ns != 0))
    return invalid("a step of a job is no array, and cannot be held or delayed");
  if (spec.stdin_path == "|" && (spec.array || (!spec.attached && spec.step_of == 0)))
    return invalid("standard input is streamed to jobs in the foreground only ('troupe run'), and "
                   "to no array; name a file");
  if (spec.terminal && (spec.stdin_path != "|" || spec.stdout_path != "|" || !spec.merge_stderr))
    return invalid("a terminal is for jobs whose input and output are streamed; give no files");
  if (spec.step_of == 0 && (spec.overlap || spec.step_of_element != no_element))
    return invalid("only a step of a job can overlap with other steps");
  if (auto ok = check_environment(spec.env); !ok)
    return ok;
  if (spec.array)
    if (auto ok = check_array(*spec.array); !ok)
      return ok;
  return check_size(spec);
}

std::uint32_t element_count(const job_spec& spec) {
  if (!spec.array)
    return 1;
  std::uint64_t count = 0;
  for (const auto& range : spec.array->ranges)
    count += range.last - range.first + 1;
  return static_cast<std::uint32_t>(count);
}

} // namespace troupe
