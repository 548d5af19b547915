// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/spawn.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

extern char** environ;

namespace troupe::launch {

namespace {

std::string hex(byte_view bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (auto byte : bytes) {
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  return out;
}

/// posix_spawn's two option objects; both must be destroyed.
class spawn_options {
public:
  spawn_options() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
  }
  spawn_options(const spawn_options&) = delete;
  spawn_options& operator=(const spawn_options&) = delete;
  ~spawn_options() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  void detach_with_log(const std::string& log) {
    ::posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDWR, 0);
    ::posix_spawn_file_actions_addopen(&actions_, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                       0600);
    ::posix_spawn_file_actions_adddup2(&actions_, 1, 2);
    ::posix_spawn_file_actions_addclosefrom_np(&actions_, 3);
    ::posix_spawnattr_setflags(&attributes_,
                               POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  }

  expected<pid_t> spawn(std::vector<std::string> arguments) {
    std::vector<char*> argv;
    for (auto& argument : arguments)
      argv.push_back(argument.data());
    argv.push_back(nullptr);
    pid_t pid = 0;
    auto failed = ::posix_spawn(&pid, argv[0], &actions_, &attributes_, argv.data(), environ);
    if (failed != 0)
      return fail(errc::unreachable, "starting " + arguments[0] + ": " + std::strerror(failed));
    return pid;
  }

private:
  posix_spawn_file_actions_t actions_{};
  posix_spawnattr_t attributes_{};
};

} // namespace

expected<void> enroll_launcher(const launcher_place& place, const enrolment& what) {
  std::vector<std::string> arguments{place.program,  "enroll",
                                     "--state",      place.state,
                                     "--cluster-id", hex(what.cluster_id),
                                     "--nodes",      what.nodes,
                                     "--uid",        std::to_string(what.peer_uid),
                                     "--root-key",   hex(what.root_key)};
  if (what.is_private)
    arguments.push_back("--private");
  spawn_options options;
  auto pid = options.spawn(std::move(arguments));
  if (!pid)
    return tl::unexpected<error>{pid.error()};
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (status != 0)
    return fail(errc::storage,
                "enrolling the launcher in " + place.state + " failed; its message is above");
  return {};
}

expected<pid_t> spawn_launcher(const launcher_place& place, const std::vector<std::string>& extra) {
  std::vector<std::string> arguments{place.program, "run",      "--state",
                                     place.state,   "--socket", place.socket};
  arguments.insert(arguments.end(), extra.begin(), extra.end());
  spawn_options options;
  options.detach_with_log(place.state + "/launcher.log");
  return options.spawn(std::move(arguments));
}

expected<launcher_client> find_or_spawn_launcher(const launcher_place& place, byte_view keyring,
                                                 std::chrono::milliseconds deadline,
                                                 bool* spawned) {
  auto until = std::chrono::steady_clock::now() + deadline;
  auto client = launcher_client::connect(place.socket, keyring, deadline);
  if (client || client.error().code != errc::unreachable)
    return client;
  auto pid = spawn_launcher(place);
  if (!pid)
    return tl::unexpected<error>{pid.error()};
  if (spawned != nullptr)
    *spawned = true;
  // It runs nothing yet: where it cannot be used it is not left behind.
  const auto give_up = [&](error why) {
    ::kill(*pid, SIGTERM);
    return tl::unexpected<error>{std::move(why)};
  };
  while (std::chrono::steady_clock::now() < until) {
    client = launcher_client::connect(place.socket, keyring, deadline);
    if (client)
      return client;
    if (client.error().code != errc::unreachable)
      return give_up(client.error());
    if (int status = 0; ::waitpid(*pid, &status, WNOHANG) == *pid)
      return fail(errc::unreachable,
                  "the launcher ended while it started; see " + place.state + "/launcher.log");
    ::poll(nullptr, 0, 2); // there is nothing to wait on before its socket exists
  }
  return give_up({errc::unreachable, "the launcher did not listen on " + place.socket + " within " +
                                         std::to_string(deadline.count()) + " ms; see " +
                                         place.state + "/launcher.log"});
}

} // namespace troupe::launch
