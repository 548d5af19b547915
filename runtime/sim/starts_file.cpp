// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/starts_file.hpp"

#include "base/unique_fd.hpp"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace troupe::sim {

namespace {

void append(std::string& out, std::int64_t value, char after) {
  char digits[24];
  auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
  out += after;
}

expected<void> write_all(int fd, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    auto count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR)
      continue;
    if (count < 0)
      return fail(errc::storage,
                  "cannot write the starts to " + path + ": " + std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return {};
}

} // namespace

std::string starts_csv(std::span<const workload_job> jobs, std::span<const plan::instant> starts) {
  std::string out = "job,submit,start,run,procs\n";
  out.reserve(out.size() + jobs.size() * 40);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    append(out, jobs[i].id, ',');
    append(out, jobs[i].submit, ',');
    append(out, starts[i], ',');
    append(out, jobs[i].run, ',');
    append(out, jobs[i].processors, '\n');
  }
  return out;
}

expected<void> write_starts_file(const std::string& path, std::span<const workload_job> jobs,
                                 std::span<const plan::instant> starts) {
  auto text = starts_csv(jobs, starts);
  unique_fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
  if (!file)
    return fail(errc::storage, "cannot create " + path + ": " + std::strerror(errno));
  return write_all(file.get(), path, text);
}

} // namespace troupe::sim
