// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/values.hpp"

#include "base/cut_text.hpp"
#include "config/latest_time.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <optional>

namespace troupe::cli {

namespace {

constexpr std::size_t ranges_max = 1024;
constexpr std::size_t nodes_named_max = 1024;

tl::unexpected<error> wrong(std::string_view text, std::string_view why) {
  return fail(errc::invalid, "'" + std::string{text.substr(0, 80)} + "' " + std::string{why});
}

/// Splits at commas outside brackets. An empty part is kept, so that the caller refuses it.
std::vector<std::string_view> split_list(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  bool inside = false;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && !inside)) {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    } else if (text[i] == '[' || text[i] == ']') {
      inside = text[i] == '[';
    }
  }
  return parts;
}

std::optional<number_range> range_in(std::string_view text) {
  auto dash = text.find('-');
  auto first = number_in(text.substr(0, dash));
  auto last = dash == std::string_view::npos ? first : number_in(text.substr(dash + 1));
  if (!first || !last || *first > *last)
    return {};
  return number_range{*first, *last};
}

struct unit {
  char letter;
  std::uint64_t factor;
};

} // namespace

expected<std::uint64_t> parse_number(std::string_view text, std::uint64_t least,
                                     std::uint64_t most) {
  auto value = number_in(text);
  if (!value || *value < least || *value > most)
    return wrong(text,
                 "is no number from " + std::to_string(least) + " to " + std::to_string(most));
  return *value;
}

expected<std::uint64_t> parse_memory(std::string_view text) {
  constexpr std::string_view how = "is no memory size; write it like 512M, 4G or a number of bytes";
  constexpr std::array<unit, 4> units{
      {{'K', 1ull << 10}, {'M', 1ull << 20}, {'G', 1ull << 30}, {'T', 1ull << 40}}};
  auto digits = text;
  for (std::string_view tail : {"iB", "B", "b"})
    if (digits.size() > tail.size() + 1 && digits.substr(digits.size() - tail.size()) == tail) {
      digits.remove_suffix(tail.size());
      break;
    }
  std::uint64_t factor = 1;
  if (!digits.empty())
    for (auto [letter, times] : units)
      if (digits.back() == letter || digits.back() == letter - 'A' + 'a') {
        factor = times;
        digits.remove_suffix(1);
        break;
      }
  auto fraction = digits;
  auto whole = number_in(take_until(fraction, '.'));
  bool has_point = digits.find('.') != std::string_view::npos;
  auto thousandths = has_point ? number_in(fraction) : std::optional<std::uint64_t>{0};
  if (!whole || !thousandths || fraction.size() > 3 || (has_point && factor == 1))
    return wrong(text, how);
  if (*whole > (std::uint64_t{1} << 60) / factor)
    return wrong(text, "is more memory than any machine has; the limit is 1024 PiB");
  std::uint64_t scale = 1;
  for (std::size_t i = 0; i < fraction.size(); ++i)
    scale *= 10;
  auto bytes = *whole * factor + *thousandths * factor / scale;
  if (bytes == 0)
    return wrong(text, "is no memory at all; leave the option out to ask for none");
  return bytes;
}

namespace {

/// Adds "5-9:2" to `to`: an inclusive range, or its single elements when there is a stride.
expected<void> add_array_part(std::string_view whole, std::string_view part,
                              std::vector<number_range>& to) {
  auto rest = part;
  auto range = range_in(take_until(rest, ':'));
  auto stride =
      part.find(':') == std::string_view::npos ? std::optional<std::uint64_t>{1} : number_in(rest);
  if (!range || !stride || *stride == 0)
    return wrong(whole, "is no array; write it like 1-1000%50 or 1,3,5-9:2");
  if (range->last > element_max)
    return wrong(whole, "goes beyond the highest element number, " + std::to_string(element_max));
  if (*stride == 1) {
    to.push_back(*range);
  } else {
    for (auto at = range->first; at <= range->last && to.size() <= ranges_max; at += *stride)
      to.push_back({at, at});
  }
  if (to.size() > ranges_max)
    return wrong(whole, "has more than " + std::to_string(ranges_max) +
                            " separate ranges; use fewer or longer ones");
  return {};
}

} // namespace

expected<array_spec> parse_array(std::string_view text) {
  array_spec result;
  auto limit = text;
  auto list = take_until(limit, '%');
  if (text.find('%') != std::string_view::npos) {
    auto most = number_in(limit);
    if (!most || *most == 0 || *most > element_max)
      return wrong(text,
                   "has no number of elements to run at once after '%'; write it like 1-1000%50");
    result.running_max = static_cast<std::uint32_t>(*most);
  }
  for (auto part : split_list(list))
    if (auto added = add_array_part(text, part, result.ranges); !added)
      return tl::unexpected{added.error()};
  std::sort(result.ranges.begin(), result.ranges.end());
  std::vector<number_range> joined;
  for (const auto& range : result.ranges) {
    if (!joined.empty() && range.first <= joined.back().last)
      return wrong(text, "names element " + std::to_string(range.first) + " twice");
    if (!joined.empty() && range.first == joined.back().last + 1)
      joined.back().last = range.last;
    else
      joined.push_back(range);
  }
  result.ranges = std::move(joined);
  return result;
}

namespace {

bool is_node_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

/// Appends prefix + each number of "1-4", "01-16".
bool add_numbered(std::string_view prefix, std::string_view part, std::vector<std::string>& names) {
  auto range = range_in(part);
  if (!range || range->last - range->first >= nodes_named_max)
    return false;
  auto width = part.substr(0, part.find('-')).size();
  for (auto number = range->first; number <= range->last; ++number) {
    auto digits = std::to_string(number);
    if (digits.size() < width)
      digits.insert(0, width - digits.size(), '0');
    names.push_back(std::string{prefix} + digits);
  }
  return true;
}

} // namespace

expected<std::vector<std::string>> parse_node_list(std::string_view text) {
  constexpr std::string_view how = "is no list of nodes; write it like node1,node[3-5]";
  std::vector<std::string> names;
  for (auto part : split_list(text)) {
    auto open = part.find('[');
    if (open == std::string_view::npos) {
      names.emplace_back(part);
    } else {
      if (part.back() != ']')
        return wrong(text, how);
      for (auto numbers : split_list(part.substr(open + 1, part.size() - open - 2)))
        if (!add_numbered(part.substr(0, open), numbers, names))
          return wrong(text, how);
    }
    if (names.size() > nodes_named_max)
      return wrong(text, "names more than " + std::to_string(nodes_named_max) + " nodes");
    if (!std::all_of(names.begin(), names.end(), is_node_name))
      return wrong(text, how);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

expected<std::vector<std::string>> parse_names(std::string_view text, std::size_t count_max) {
  std::vector<std::string> names;
  auto rest = text;
  while (!rest.empty() || names.empty()) {
    const auto name = take_until(rest, ',');
    if (name.empty() || name.size() > name_bytes_max ||
        name.find_first_of(" \t&|[]()*?") != std::string_view::npos)
      return wrong(text, "is no list of names; write them with commas between: ssd,fast");
    if (std::find(names.begin(), names.end(), name) != names.end())
      return wrong(text, "has '" + std::string{name} + "' twice");
    names.emplace_back(name);
  }
  if (text.back() == ',')
    return wrong(text, "ends with a comma");
  if (names.size() > count_max)
    return wrong(text, "has " + std::to_string(names.size()) + " names; " +
                           std::to_string(count_max) + " are the limit");
  return names;
}

expected<std::vector<job_dependency>> parse_dependencies(std::string_view text) {
  constexpr std::string_view how =
      "is no dependency; write after, afterok, afternotok or afterany with job ids: "
      "afterok:812:813,afterany:7";
  std::vector<job_dependency> result;
  for (const auto part : split_list(text)) {
    auto rest = part;
    job_dependency each;
    if (!from_string(take_until(rest, ':'), each.kind) || rest.empty() || part.back() == ':')
      return wrong(text, how);
    while (!rest.empty()) {
      const auto id = take_until(rest, ':');
      if (id.find('_') != std::string_view::npos)
        return wrong(text, "names an element; a job can depend on whole jobs only");
      const auto number = number_in(id);
      if (!number || *number == 0)
        return wrong(text, how);
      each.job = *number;
      if (std::find(result.begin(), result.end(), each) == result.end())
        result.push_back(each);
    }
  }
  if (result.size() > dependencies_max)
    return wrong(text, "names " + std::to_string(result.size()) + " jobs; " +
                           std::to_string(dependencies_max) + " are the limit");
  return result;
}

expected<std::int32_t> parse_nice(std::string_view text) {
  const auto negative = !text.empty() && text.front() == '-';
  const auto value = number_in(negative ? text.substr(1) : text);
  if (!value || *value > static_cast<std::uint64_t>(nice_max))
    return wrong(text, "is no number from " + std::to_string(-nice_max) + " to " +
                           std::to_string(nice_max));
  return static_cast<std::int32_t>(*value) * (negative ? -1 : 1);
}

expected<std::int32_t> parse_signal(std::string_view text) {
  if (auto number = number_in(text);
      number && *number >= 1 && *number <= static_cast<std::uint64_t>(SIGRTMAX))
    return static_cast<std::int32_t>(*number);
  auto name = text.substr(0, 3) == "SIG" ? text.substr(3) : text;
  for (int number = 1; number < NSIG; ++number)
    if (const auto* known = ::sigabbrev_np(number); known != nullptr && name == known)
      return number;
  return wrong(text, "is no signal; write it like TERM, SIGUSR1 or 15");
}

namespace {

expected<utc_ns> not_too_late(std::string_view text, std::int64_t at_s) {
  if (at_s > latest_time_s)
    return wrong(text,
                 "is later than 2100-01-01 UTC, the latest time that can be asked for; what is "
                 "to wait until somebody lets it start is submitted with --hold");
  return at_s * ns_per_s;
}

} // namespace

expected<utc_ns> parse_point_in_time(std::string_view text, utc_ns now) {
  constexpr std::string_view how =
      "is no time to begin; write it like now+2h, 14:30 or 2026-05-01T14:30";
  if (text.substr(0, 4) == "now+") {
    auto later = parse_duration_s(text.substr(4));
    return later ? not_too_late(text, now / ns_per_s + std::int64_t{*later})
                 : tl::unexpected{later.error()};
  }
  auto now_s = static_cast<std::time_t>(now / ns_per_s);
  std::tm at{};
  ::localtime_r(&now_s, &at);
  std::string whole{text};
  bool clock_only = text.find('-') == std::string_view::npos;
  const char* end = nullptr;
  for (const auto* format :
       {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%H:%M:%S", "%H:%M"}) {
    auto attempt = at;
    attempt.tm_hour = attempt.tm_min = attempt.tm_sec = 0;
    end = ::strptime(whole.c_str(), format, &attempt);
    if (end != nullptr && *end == '\0') {
      at = attempt;
      break;
    }
    end = nullptr;
  }
  if (end == nullptr)
    return wrong(text, how);
  at.tm_isdst = -1;
  auto in_calendar = at;
  ::timegm(&in_calendar);
  if (in_calendar.tm_mday != at.tm_mday)
    return wrong(text, "names a day that its month does not have");
  auto begin_s = ::mktime(&at);
  if (clock_only && begin_s < now_s) {
    ++at.tm_mday;
    at.tm_isdst = -1;
    begin_s = ::mktime(&at);
  }
  if (begin_s < now_s)
    return wrong(text, "has already passed");
  return not_too_late(text, begin_s);
}

expected<std::vector<job_selector::target>> parse_job_ids(std::string_view text) {
  constexpr std::string_view how = "is no job id; write it like 812, 812-900, 812_7 or 812_[1-9]";
  auto id = text;
  if (auto dot = id.find('.'); dot != std::string_view::npos) {
    auto step = number_in(id.substr(dot + 1));
    if (!step)
      return wrong(text, how);
    if (*step != 0)
      return wrong(text, "names a step; here jobs and elements are asked for");
    id = id.substr(0, dot);
  }
  auto under = id.find('_');
  auto jobs = range_in(id.substr(0, under));
  if (!jobs || jobs->first == 0)
    return wrong(text, how);
  job_selector::target whole;
  whole.first = jobs->first;
  whole.last = jobs->last;
  if (under == std::string_view::npos)
    return std::vector{whole};
  auto elements = id.substr(under + 1);
  if (elements.size() >= 2 && elements.front() == '[' && elements.back() == ']')
    elements = elements.substr(1, elements.size() - 2);
  else if (!number_in(elements))
    return wrong(text, how);
  if (jobs->first != jobs->last)
    return wrong(text, "names elements of several jobs; write one id for each job");
  std::vector<job_selector::target> targets;
  for (auto part : split_list(elements)) {
    auto range = range_in(part);
    if (!range || range->last > element_max)
      return wrong(text, how);
    targets.push_back(whole);
    targets.back().elements = *range;
  }
  return targets;
}

expected<job_and_element> parse_one_job(std::string_view text) {
  auto targets = parse_job_ids(text);
  if (!targets)
    return tl::unexpected{targets.error()};
  const auto& one = targets->front();
  if (targets->size() > 1 || one.first != one.last ||
      (one.elements && one.elements->first != one.elements->last))
    return wrong(text, "names more than one; give one job or one element");
  return job_and_element{one.first, one.elements ? static_cast<std::uint32_t>(one.elements->first)
                                                 : no_element};
}

expected<std::optional<job_step_id>> parse_step(std::string_view text) {
  const auto dot = text.find('.');
  if (dot == std::string_view::npos)
    return std::nullopt;
  const auto step = number_in(text.substr(dot + 1));
  auto of = parse_one_job(text.substr(0, dot));
  if (!step || *step > element_max)
    return wrong(text, "is no step; write it like 812.1 or 812_7.1");
  if (!of)
    return tl::unexpected{of.error()};
  if (*step == 0)
    return std::nullopt;
  return job_step_id{*of, static_cast<std::uint32_t>(*step)};
}

std::string format_step(const job_step_id& id) {
  return format_id(id.of.job, id.of.element) + "." + std::to_string(id.step);
}

std::string signal_name(std::int32_t number) {
  const auto* name = number > 0 ? ::sigabbrev_np(number) : nullptr;
  return name != nullptr ? "SIG" + std::string{name} : "signal " + std::to_string(number);
}

std::string format_memory(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> units{"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes == 0)
    return "-";
  std::size_t unit = 0;
  auto value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < units.size(); ++unit)
    value /= 1024;
  std::array<char, 32> text{};
  bool whole = value >= 100 || value == static_cast<double>(static_cast<std::uint64_t>(value));
  std::snprintf(text.data(), text.size(), whole ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text.data();
}

std::string format_time(utc_ns at) {
  if (at == 0)
    return "-";
  auto seconds = static_cast<std::time_t>(at / ns_per_s);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &local);
  return text.data();
}

} // namespace troupe::cli
