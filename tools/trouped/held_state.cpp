// SPDX-License-Identifier: Apache-2.0
#include "tools/trouped/held_state.hpp"

#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <fmt/format.h>
#include <mutex>
#include <sys/resource.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <vector>

namespace troupe::daemon {

namespace {

constexpr std::size_t threads_needed = 24; ///< of actors, of the engine, and of what they start

} // namespace

expected<held_state> hold_state(const options& how, spdlog::logger& log) {
  if (::mkdir(how.state.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(errc::storage, fmt::format("cannot make the state directory {}: {}", how.state,
                                           std::strerror(errno)));
  auto lock = state::become_daemon(how.state);
  if (!lock)
    return tl::unexpected{lock.error()};
  auto known = state::read_mark(how.state);
  auto mark = state::check_whole(how.state);
  if (!known || !mark)
    return tl::unexpected{known ? mark.error() : known.error()};
  if (!*known || **known != *mark)
    if (auto marked = state::write_mark(how.state, *mark); !marked)
      return tl::unexpected{marked.error()};
  // The lock tells the process, too: on a full disk a start goes on without the file.
  auto written = state::write_pid(how.state);
  if (!written)
    log.warn("{}; trying again later", written.error().text);
  return held_state{std::move(*lock), std::move(*mark), written.has_value()};
}

expected<void> remember_start(const options& how, held_state& held, const std::string& cluster) {
  const state::mark now{cluster, true, true};
  if (held.mark != now)
    if (auto marked = state::write_mark(how.state, now); !marked)
      return marked;
  held.mark = now;
  state::shape serving{how.nodes, how.cores, how.config};
  if (serving.config == state::configuration_of(how.state))
    serving.config.clear(); // looked for there anyway, and not missed when it is gone
  const auto before = state::read_shape(how.state);
  if (before && *before == serving)
    return {};
  return state::write_shape(how.state, serving);
}

expected<void> try_threads() {
  std::mutex mutex;
  std::condition_variable changed;
  auto over = false;
  std::vector<std::thread> made;
  std::string why;
  try {
    made.reserve(threads_needed);
    while (made.size() < threads_needed)
      made.emplace_back([&] {
        std::unique_lock lock{mutex};
        changed.wait(lock, [&] { return over; });
      });
  } catch (const std::system_error& refused) {
    why = refused.code().message();
  }
  {
    const std::lock_guard lock{mutex};
    over = true;
  }
  changed.notify_all();
  for (auto& each : made)
    each.join();
  if (why.empty())
    return {};
  rlimit processes{};
  ::getrlimit(RLIMIT_NPROC, &processes);
  const auto limit = processes.rlim_cur == RLIM_INFINITY ? std::string{"no limit"}
                                                         : fmt::format("{}", processes.rlim_cur);
  return fail(errc::exhausted,
              fmt::format("cannot make the {} threads that are needed, only {}: {}; this user's "
                          "limit on processes is {} ('ulimit -u'): raise it, or end some",
                          threads_needed, made.size(), why, limit));
}

} // namespace troupe::daemon
