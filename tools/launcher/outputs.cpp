// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

// Output files that several share: elements of an array, ranks of an element. Whoever comes first
// empties the file of what somebody else left in it, the others add to it.
//
// Who is first, the file itself tells: it carries a mark of those it belongs to. So no clock
// decides, neither this host's nor a file server's, and it stays true over restarts, requeues and
// several nodes. Only where a file system takes no marks is the file's age compared with the job's
// first start, by the clock that also gave the file its age.

namespace troupe::launcher {

namespace {

constexpr const char* mark_name = "user.troupe.output";
constexpr std::int64_t coarse_ns = 10'000'000; ///< how exact times of files are

/// Whether a pattern has this placeholder: what it stands for has a file of its own.
bool names(const char* pattern, char placeholder) {
  for (const char* at = pattern; *at != '\0' && at[1] != '\0'; ++at)
    if (*at == '%' && *++at == placeholder)
      return true;
  return false;
}

bool elements_share(const child_plan& plan, const char* pattern) {
  return plan.order->is_array() && !names(pattern, 'a');
}

/// Whose file it is: all elements' of a job, or the ranks' of one element's one step.
struct output_mark {
  std::uint8_t cluster[16];
  std::uint64_t job;
  std::uint32_t element, incarnation, step;
  std::uint32_t reserved;
};
static_assert(sizeof(output_mark) == 40);

output_mark mark_of(const child_plan& plan, const char* pattern) {
  output_mark mark{};
  std::memcpy(mark.cluster, plan.order->cluster_id.data(), sizeof mark.cluster);
  mark.job = plan.order->job;
  if (elements_share(plan, pattern))
    return mark;
  mark.element = plan.element;
  mark.incarnation = plan.order->incarnation;
  mark.step = plan.order->step;
  return mark;
}

std::int64_t nanoseconds(const timespec& t) {
  return t.tv_sec * second_ns + t.tv_nsec;
}

/// How far the clock that dates this file is ahead of ours: that of a file server may be.
std::int64_t ahead_of_us(int fd) {
  const timespec only_access[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
  struct stat about {};
  timespec now{};
  if (::futimens(fd, only_access) != 0 || ::fstat(fd, &about) != 0 ||
      ::clock_gettime(CLOCK_REALTIME, &now) != 0)
    return 0;
  return nanoseconds(about.st_atim) - nanoseconds(now);
}

bool is_older_than_job(const child_plan& plan, int fd, const struct stat& about) {
  const auto& order = *plan.order;
  const auto since =
      order.first_start_ns != 0 ? order.first_start_ns : utc_now() - (boot_now() - order.issued_ns);
  auto ahead = ahead_of_us(fd);
  if (-coarse_ns < ahead && ahead < coarse_ns)
    ahead = 0;
  return nanoseconds(about.st_mtim) - ahead <= since - coarse_ns;
}

} // namespace

bool is_shared_output(const child_plan& plan, const char* pattern) {
  return elements_share(plan, pattern) || (plan.order->ranks_total > 1 && !names(pattern, 't'));
}

void empty_of_others(const child_plan& plan, const char* pattern, int fd) {
  struct stat about {};
  if (::fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
    return;
  const timespec pause{0, 1'000'000};
  for (int i = 0; i < 1000 && ::flock(fd, LOCK_EX | LOCK_NB) != 0; ++i) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      break; // no locks here
    (void)::nanosleep(&pause, nullptr);
  }
  const auto mark = mark_of(plan, pattern);
  output_mark found{};
  const auto length = ::fgetxattr(fd, mark_name, &found, sizeof found);
  const auto is_ours = length == sizeof found && std::memcmp(&found, &mark, sizeof mark) == 0;
  if (!is_ours && ::fstat(fd, &about) == 0) {
    const auto marked = ::fsetxattr(fd, mark_name, &mark, sizeof mark, 0) == 0;
    if (about.st_size > 0 && (marked || is_older_than_job(plan, fd, about)))
      (void)!::ftruncate(fd, 0);
  }
  (void)::flock(fd, LOCK_UN);
}

} // namespace troupe::launcher
