// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/output_path.hpp"

#include "tools/troupe/values.hpp"

namespace troupe::cli {

namespace {

/// The first node of the element; a task on another one is found by giving its file's name.
std::string node_of(const job_view& job, std::uint32_t element) {
  auto list = job.row.nodelist;
  for (const auto& one : job.elements)
    if (one.element == element && !one.nodelist.empty())
      list = one.nodelist;
  auto names = parse_node_list(list);
  return names && !names->empty() ? names->front() : list;
}

} // namespace

std::string expand_output_path(const job_view& job, std::uint32_t element, std::uint32_t task,
                               const std::string& pattern) {
  std::string out = pattern.front() == '/' ? std::string{} : job.spec.cwd + "/";
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    char letter = pattern[i] == '%' && i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    switch (letter) {
    case 'j': out += format_id(job.row.job); break;
    case 'a': out += element == no_element ? "0" : std::to_string(element); break;
    case 't': out += std::to_string(task); break;
    case 'N': out += node_of(job, element); break;
    case '%': out += '%'; break;
    default: out += pattern[i]; continue;
    }
    ++i;
  }
  return out;
}

} // namespace troupe::cli
