// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/output_path.hpp"

#include "tools/troupe/values.hpp"

namespace troupe::cli {

namespace {

/// The first node; a task on another one is found by giving its file's name.
std::string first_node(const std::string& list) {
  auto names = parse_node_list(list);
  return names && !names->empty() ? names->front() : list;
}

} // namespace

output_place place_of(const job_view& job, std::uint32_t element) {
  const auto& spec = job.spec;
  output_place place{job.row.job,      element,          job.row.nodelist, spec.cwd,
                     spec.stdout_path, spec.stderr_path, spec.merge_stderr};
  for (const auto& one : job.elements)
    if (one.element == element && !one.nodelist.empty())
      place.nodelist = one.nodelist;
  return place;
}

std::optional<output_place> place_of_step(const job_view& job, std::uint32_t step) {
  for (const auto& one : job.steps)
    if (one.step == step)
      return output_place{job.row.job,     one.element,     one.nodelist,    one.cwd,
                          one.stdout_path, one.stderr_path, one.merge_stderr};
  return std::nullopt;
}

std::string expand_output_path(const output_place& place, std::uint32_t task,
                               std::string_view pattern) {
  std::string out = pattern.starts_with('/') ? std::string{} : place.cwd + "/";
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    char letter = pattern[i] == '%' && i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    switch (letter) {
    case 'j': out += format_id(place.job); break;
    case 'a': out += place.element == no_element ? "0" : std::to_string(place.element); break;
    case 't': out += std::to_string(task); break;
    case 'N': out += first_node(place.nodelist); break;
    case '%': out += '%'; break;
    default: out += pattern[i]; continue;
    }
    ++i;
  }
  return out;
}

} // namespace troupe::cli
