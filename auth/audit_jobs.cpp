// SPDX-License-Identifier: Apache-2.0
#include "auth/audit_jobs.hpp"

#include "auth/audit.hpp"
#include "auth/audit_line.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::auth {

namespace {

/// A field's number; 0 where there is none. Within a value a quote stands behind a backslash.
std::uint64_t number_in(std::string_view fields, const std::string& name) {
  const auto key = ",\"" + name + "\":\"";
  const auto at = fields.find(key);
  std::uint64_t number = 0;
  if (at != std::string_view::npos)
    std::from_chars(fields.data() + at + key.size(), fields.data() + fields.size(), number);
  return number;
}

void take_line(std::string_view line, audit_jobs& into) {
  const auto head = audit_detail::parse_head(line);
  if (!head)
    return;
  if (head->kind == "warrants")
    into.numbered = std::max(into.numbered, number_in(head->rest, "last"));
  if (head->kind == "orders") // an earlier release named the first one alone
    into.ordered = std::max(
        {into.ordered, number_in(head->rest, "first_job"), number_in(head->rest, "highest_job")});
}

tl::unexpected<error> unreadable(const std::string& path) {
  return fail(errc::storage, "cannot read the audit log '" + path + "': " + std::strerror(errno));
}

} // namespace

expected<audit_jobs> jobs_in_audit(const std::string& path, std::uint64_t bytes_max) {
  audit_jobs found;
  const unique_fd log{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  if (!log && errno == ENOENT)
    return found;
  struct stat info {};
  if (!log || ::fstat(log.get(), &info) != 0)
    return unreadable(path);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  auto at = static_cast<off_t>(size - std::min(size, bytes_max));
  bool is_whole = at == 0; // a line that was begun before is none
  std::string text;
  std::array<char, 64 * 1024> block{};
  for (;;) {
    const auto got = ::pread(log.get(), block.data(), block.size(), at);
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return unreadable(path);
    if (got == 0)
      return found; // without the line that a crash tore
    at += got;
    text.append(block.data(), static_cast<std::size_t>(got));
    std::size_t from = 0;
    for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n', from)) {
      if (is_whole)
        take_line(std::string_view{text}.substr(from, end - from), found);
      is_whole = true;
      from = end + 1;
    }
    text.erase(0, from);
    if (text.size() > audit_line_bytes_max) {
      text.clear();
      is_whole = false;
    }
  }
}

} // namespace troupe::auth
