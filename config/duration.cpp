// SPDX-License-Identifier: Apache-2.0
#include "config/duration.hpp"

#include "base/cut_text.hpp"

#include <array>
#include <cstdio>
#include <optional>
#include <vector>

namespace troupe {

namespace {

constexpr std::uint64_t minute_s = 60;
constexpr std::uint64_t hour_s = 60 * minute_s;
constexpr std::uint64_t day_s = 24 * hour_s;
constexpr std::uint64_t duration_s_max = 366 * day_s;

tl::unexpected<error> wrong(std::string_view text, std::string_view why) {
  return fail(errc::invalid, "'" + std::string{text.substr(0, 80)} + "' " + std::string{why});
}

struct unit {
  char letter;
  std::uint64_t factor;
};

} // namespace

expected<std::uint32_t> parse_duration_s(std::string_view text) {
  constexpr std::string_view how =
      "is no time; write minutes, MM:SS, HH:MM:SS, D-HH:MM:SS, 90s, 2h or 1d";
  constexpr std::array<unit, 4> units{{{'s', 1}, {'m', minute_s}, {'h', hour_s}, {'d', day_s}}};
  std::optional<std::uint64_t> seconds;
  auto limited = [](std::string_view part, std::uint64_t most) {
    auto value = number_in(part);
    return value && *value <= most ? value : std::nullopt;
  };
  auto rest = text;
  if (!text.empty() && text.find_first_of(":-") == std::string_view::npos) {
    std::uint64_t factor = minute_s;
    for (auto [letter, times] : units)
      if (text.back() == letter) {
        factor = times;
        rest.remove_suffix(1);
        break;
      }
    if (auto value = limited(rest, duration_s_max))
      seconds = *value * factor;
  } else if (!text.empty()) {
    std::optional<std::uint64_t> days = 0;
    bool has_days = text.find('-') != std::string_view::npos;
    if (has_days)
      days = limited(take_until(rest, '-'), 366);
    std::vector<std::string_view> parts;
    while (parts.size() < 4 && !rest.empty())
      parts.push_back(take_until(rest, ':'));
    if (has_days ? parts.size() != 3 : parts.size() != 2 && parts.size() != 3)
      return wrong(text, how);
    auto last = limited(parts.back(), 59);
    auto minutes = limited(parts[parts.size() - 2], parts.size() == 2 ? 100'000 : 59);
    auto hours = parts.size() == 3 ? limited(parts[0], has_days ? 23 : 9'999)
                                   : std::optional<std::uint64_t>{0};
    if (days && hours && minutes && last && text.back() != ':')
      seconds = *days * day_s + *hours * hour_s + *minutes * minute_s + *last;
  }
  if (!seconds)
    return wrong(text, how);
  if (*seconds == 0 || *seconds > duration_s_max)
    return wrong(text, "is no time from 1 second to 366 days");
  return static_cast<std::uint32_t>(*seconds);
}

std::string format_duration(std::int64_t seconds) {
  if (seconds < 0)
    seconds = 0;
  auto days = seconds / 86'400;
  auto hours = static_cast<int>(seconds / 3600 % 24);
  auto minutes = static_cast<int>(seconds / 60 % 60);
  auto rest = static_cast<int>(seconds % 60);
  std::array<char, 48> text{};
  if (days > 0)
    std::snprintf(text.data(), text.size(), "%lld-%02d:%02d:%02d", static_cast<long long>(days),
                  hours, minutes, rest);
  else if (hours > 0)
    std::snprintf(text.data(), text.size(), "%d:%02d:%02d", hours, minutes, rest);
  else
    std::snprintf(text.data(), text.size(), "%d:%02d", minutes, rest);
  return text.data();
}

} // namespace troupe
