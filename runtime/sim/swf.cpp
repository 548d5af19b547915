// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/swf.hpp"

#include <array>
#include <charconv>
#include <limits>
#include <optional>

namespace troupe::sim {

namespace {

constexpr std::size_t fields_per_line = 18;
constexpr std::size_t shown_bytes_max = 20;

struct field_rule {
  std::size_t index;
  const char* name;
  std::int64_t swf_job::*into;
  std::int64_t least, most;
};

// A negative value other than -1 stands in some logs for "not known", too: the filter drops both.
constexpr std::int64_t any_id = std::numeric_limits<std::int64_t>::max();
constexpr std::array rules{
    field_rule{0, "job number", &swf_job::id, 0, any_id},
    field_rule{1, "submit time", &swf_job::submit, -time_s_max, time_s_max},
    field_rule{3, "run time", &swf_job::run, -time_s_max, time_s_max},
    field_rule{4, "allocated processors", &swf_job::allocated_processors, -processors_max,
               processors_max},
    field_rule{7, "requested processors", &swf_job::requested_processors, -processors_max,
               processors_max},
    field_rule{8, "requested time", &swf_job::requested_time, -time_s_max, time_s_max},
    field_rule{11, "user", &swf_job::user, -any_id, any_id},
};

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Splits a line at blanks; answers how many fields there are, of which at most 18 are kept.
std::size_t split(std::string_view text, std::array<std::string_view, fields_per_line>& fields) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size();) {
    while (at < text.size() && is_blank(text[at]))
      ++at;
    auto begin = at;
    while (at < text.size() && !is_blank(text[at]))
      ++at;
    if (at == begin)
      break;
    if (count < fields_per_line)
      fields[count] = text.substr(begin, at - begin);
    ++count;
  }
  return count;
}

/// A number as the fields that scheduling does not need may be: whole or decimal.
bool is_number(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+'))
    text.remove_prefix(1);
  std::size_t digits = 0, points = 0;
  for (char c : text) {
    digits += is_digit(c);
    points += c == '.';
  }
  return digits > 0 && points <= 1 && digits + points == text.size();
}

/// A whole number; ".0" after it changes nothing.
std::optional<std::int64_t> whole_number(std::string_view text, bool& too_large) {
  std::int64_t value = 0;
  auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), value);
  too_large = wrong == std::errc::result_out_of_range;
  if (wrong != std::errc{})
    return std::nullopt;
  auto rest = text.substr(static_cast<std::size_t>(end - text.data()));
  if (!rest.empty() && (rest.size() < 2 || rest[0] != '.' ||
                        rest.find_first_not_of('0', 1) != std::string_view::npos))
    return std::nullopt;
  return value;
}

std::string shown(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, shown_bytes_max))
    out += c >= ' ' && c <= '~' ? c : '?';
  return "'" + out + (text.size() > shown_bytes_max ? "…'" : "'");
}

std::string named(std::size_t index, const char* name) {
  return "field " + std::to_string(index + 1) + (*name != 0 ? std::string{" ("} + name + ")" : "");
}

/// Fills the job from the fields; else says what is wrong.
std::optional<std::string> read_fields(std::array<std::string_view, fields_per_line>& fields,
                                       swf_job& job) {
  auto rule = rules.begin();
  for (std::size_t i = 0; i < fields_per_line; ++i) {
    if (rule == rules.end() || rule->index != i) {
      if (!is_number(fields[i]))
        return named(i, "") + " is " + shown(fields[i]) + ", not a number";
      continue;
    }
    bool too_large = false;
    auto value = whole_number(fields[i], too_large);
    if (!value && !too_large)
      return named(i, rule->name) + " is " + shown(fields[i]) + ", not a whole number";
    if (too_large || *value < rule->least || *value > rule->most)
      return named(i, rule->name) + " is " + shown(fields[i]) + "; " + std::to_string(rule->least) +
             " to " + std::to_string(rule->most) + " is possible";
    job.*rule->into = *value;
    ++rule;
  }
  return std::nullopt;
}

} // namespace

void swf_reader::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    auto end = bytes.find('\n');
    if (end == std::string_view::npos) {
      if (begun_.size() + bytes.size() > line_bytes_max)
        overlong_ = true;
      if (!overlong_)
        begun_ += bytes;
      return;
    }
    if (begun_.empty() && !overlong_) {
      line(bytes.substr(0, end));
    } else {
      if (!overlong_)
        begun_ += bytes.substr(0, end);
      line(begun_);
      begun_.clear();
      overlong_ = false;
    }
    bytes.remove_prefix(end + 1);
  }
}

swf_log swf_reader::finish() {
  if (!begun_.empty() || overlong_)
    line(begun_);
  begun_.clear();
  overlong_ = false;
  return std::move(log_);
}

void swf_reader::line(std::string_view text) {
  if (log_.too_many)
    return;
  ++log_.lines;
  if (overlong_ || text.size() > line_bytes_max)
    return malformed("is longer than " + std::to_string(line_bytes_max) + " bytes");
  std::array<std::string_view, fields_per_line> fields;
  auto count = split(text, fields);
  if (count == 0 || fields[0].front() == ';')
    return;
  if (count != fields_per_line)
    return malformed("has " + std::to_string(count) + (count == 1 ? " field" : " fields") +
                     " instead of " + std::to_string(fields_per_line));
  swf_job job;
  if (auto wrong = read_fields(fields, job))
    return malformed(std::move(*wrong));
  if (log_.jobs.size() == jobs_max) {
    log_.too_many = true;
    return;
  }
  log_.jobs.push_back(job);
}

void swf_reader::malformed(std::string what) {
  ++log_.malformed;
  if (log_.problems.size() < problems_max)
    log_.problems.push_back({log_.lines, std::move(what)});
}

} // namespace troupe::sim
