// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/daemon.hpp"

#include "base/unique_fd.hpp"
#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/paths.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::cli {

namespace {

using std::chrono::milliseconds;
using clock = std::chrono::steady_clock;

constexpr auto ready_within = std::chrono::seconds{120};
constexpr auto told_after = std::chrono::seconds{5};
constexpr int ready_poll_ms = 5;
constexpr std::size_t log_tail_bytes = 4096;
constexpr int starts_max = 5;
constexpr int exit_other_serves = 3; ///< trouped's, when another one has the state directory

/// The programs that a start needs. trouped starts the launcher; it is looked for here, because a
/// sentence here is easier to find than one in a log.
expected<std::string> find_daemon() {
  auto found = find_program("trouped");
  if (!found)
    return found;
  if (auto launcher = find_program("troupe-launcher"); !launcher)
    return launcher;
  return found;
}

std::vector<std::string> arguments(const std::string& program, const daemon_start& how) {
  std::vector<std::string> words{program,    "--private",
                                 "--state",  how.state,
                                 "--socket", state::socket_of(how.state),
                                 "--nodes",  std::to_string(how.shape.nodes),
                                 "--cores",  std::to_string(how.shape.cores)};
  if (const auto file = configuration_file(how.state, how.shape); !file.empty())
    words.insert(words.end(), {"--config", file});
  if (how.foreground)
    words.push_back("--foreground");
  if (how.paused)
    words.push_back("--paused");
  return words;
}

error execute(const std::vector<std::string>& words) {
  std::vector<char*> raw;
  for (const auto& word : words)
    raw.push_back(const_cast<char*>(word.c_str()));
  raw.push_back(nullptr);
  std::signal(SIGPIPE, SIG_DFL);
  ::execv(raw[0], raw.data());
  return {errc::storage, "cannot start " + words.front() + ": " + varlink::system_message(errno)};
}

std::string read_all(const unique_fd& from) {
  std::string text;
  std::array<char, log_tail_bytes> piece{};
  for (;;) {
    const auto got = ::read(from.get(), piece.data(), piece.size());
    if (got > 0)
      text.append(piece.data(), static_cast<std::size_t>(got));
    else if (got == 0 || errno != EINTR)
      return text;
  }
}

/// Why the last trouped ended, in its own words: the last line of that kind that is new in its log.
std::string last_words(const std::string& path, off_t log_before) {
  unique_fd log{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  const auto size = log ? ::lseek(log.get(), 0, SEEK_END) : 0;
  std::array<char, log_tail_bytes> buffer{};
  const auto from = std::max(log_before, size - static_cast<off_t>(buffer.size()));
  const auto got = log && size > from ? ::pread(log.get(), buffer.data(), buffer.size(), from) : 0;
  const std::string text{buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  constexpr std::string_view mark = " critical ";
  const auto at = text.rfind(mark);
  if (at == std::string::npos)
    return {};
  const auto begin = at + mark.size();
  return text.substr(begin, std::min(text.find('\n', begin), text.size()) - begin);
}

std::optional<cluster_now> ask_for_summary(const std::string& state) {
  auto to = session::connect_to(state::socket_of(state), milliseconds{1000});
  if (!to)
    return {};
  auto summary = to->call(calls::summary{});
  if (!summary || (summary->value.state != "ready" && summary->value.state != "stopping"))
    return {};
  return std::move(*summary);
}

/// A trouped that was started here, and where it says why it cannot start.
struct started_daemon {
  pid_t pid = 0;        ///< 0: it is another's
  off_t log_before = 0; ///< what is behind that in the log is its own
  unique_fd words;      ///< the reading end of a pipe: a full disk takes no log
};

/// Waits for a trouped to answer.
class readiness {
public:
  readiness(const invocation& run, std::string state, started_daemon child)
      : run_{run}, state_{std::move(state)}, child_{std::move(child)} {}

  expected<std::optional<cluster_now>> wait() {
    const auto began = clock::now();
    auto told = false;
    for (;;) {
      if (auto summary = ask_for_summary(state_))
        return std::optional{std::move(*summary)};
      if (auto over = has_ended(); !over)
        return tl::unexpected{over.error()};
      else if (*over)
        return std::optional<cluster_now>{};
      const auto waited = clock::now() - began;
      if (waited >= ready_within)
        return fail(errc::unreachable,
                    "trouped has not answered within " + std::to_string(ready_within.count()) +
                        " s, and goes on starting; its log is " + state::log_of(state_));
      if (!told && waited >= told_after) {
        told = true;
        notice(run_, "trouped is still starting; its log is " + state::log_of(state_));
      }
      ::poll(nullptr, 0, ready_poll_ms); // there is nothing to wait on before it listens
    }
  }

private:
  /// Whether there is no trouped any more that could become ready; an error says why ours ended.
  expected<bool> has_ended() {
    int status = 0;
    if (child_.pid == 0)
      return !state::daemon_of(state_).has_value();
    if (::waitpid(child_.pid, &status, WNOHANG) != child_.pid)
      return false;
    child_.pid = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == exit_other_serves)
      return false; // started by somebody else a moment before: that one is waited for
    auto why = read_all(child_.words);
    why.erase(std::min(why.find('\n'), why.size()));
    if (why.empty())
      why = last_words(state::log_of(state_), child_.log_before);
    return fail(errc::conflict,
                "trouped ended before it was ready" +
                    (why.empty() ? (WIFSIGNALED(status)
                                        ? ", by signal " + std::to_string(WTERMSIG(status))
                                        : ", with exit code " + std::to_string(WEXITSTATUS(status)))
                                 : ": " + why) +
                    "; its log is " + state::log_of(state_));
  }

  const invocation& run_;
  std::string state_;
  started_daemon child_;
};

} // namespace

expected<std::string> usable_state_directory() {
  auto state = state_directory();
  if (!state)
    return state;
  if (auto address = varlink::socket_address(state::launcher_socket_of(*state)); !address)
    return fail(errc::invalid, "the state directory " + *state + " has too long a path: " +
                                   address.error().text + " by TROUPE_STATE_DIR");
  return state;
}

std::string configuration_file(const std::string& state, const state::shape& shape) {
  if (!shape.config.empty())
    return shape.config;
  const auto own = state::configuration_of(state);
  return ::access(own.c_str(), F_OK) == 0 ? own : std::string{};
}

error become_daemon(const daemon_start& how) {
  auto program = find_daemon();
  return program ? execute(arguments(*program, how)) : program.error();
}

namespace {

/// Nothing when another one came first and has ended meanwhile.
expected<std::optional<cluster_now>> try_start(const invocation& run, const daemon_start& how) {
  auto program = find_daemon();
  if (!program)
    return tl::unexpected{program.error()};
  const auto path = state::log_of(how.state);
  const unique_fd log{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)};
  const unique_fd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  if (!log || !nothing)
    return fail(errc::storage, "cannot open " + path + ": " + varlink::system_message(errno));
  int words[2];
  if (::pipe2(words, O_CLOEXEC | O_NONBLOCK) != 0)
    return fail(errc::exhausted, "cannot make a pipe: " + varlink::system_message(errno));
  started_daemon child;
  child.words = unique_fd{words[0]};
  unique_fd words_end{words[1]};
  child.log_before = ::lseek(log.get(), 0, SEEK_END);
  const auto command = arguments(*program, how);
  child.pid = ::fork();
  if (child.pid < 0)
    return fail(errc::exhausted,
                "cannot start a process: " + varlink::system_message(errno) + "; see 'ulimit -u'");
  if (child.pid == 0) {
    ::setsid();
    // The directory that this command was called from should stay removable.
    if (::chdir("/") != 0)
      ::_exit(exit_code::failed);
    ::dup2(nothing.get(), STDIN_FILENO);
    ::dup2(words_end.get(), STDOUT_FILENO);
    ::dup2(log.get(), STDERR_FILENO);
    write_all(STDOUT_FILENO, execute(command).text + "\n");
    ::_exit(exit_code::failed);
  }
  words_end.reset();
  return readiness{run, how.state, std::move(child)}.wait();
}

} // namespace

expected<cluster_now> start_daemon(const invocation& run, const daemon_start& how) {
  for (int tried = 0; tried < starts_max; ++tried) {
    auto ready = try_start(run, how);
    if (!ready)
      return tl::unexpected{ready.error()};
    if (*ready)
      return std::move(**ready);
  }
  return fail(errc::conflict,
              "another trouped came first each time, and ended; see " + state::log_of(how.state));
}

namespace {

/// What a program left that was run to its end.
struct ended_program {
  int status = 0;
  std::string out;
  std::string err;
};

expected<ended_program> run_to_its_end(const std::vector<std::string>& words) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0)
    return fail(errc::exhausted, "cannot make a pipe: " + varlink::system_message(errno));
  const unique_fd out_read{out[0]};
  unique_fd out_write{out[1]};
  if (::pipe2(err, O_CLOEXEC) != 0)
    return fail(errc::exhausted, "cannot make a pipe: " + varlink::system_message(errno));
  const unique_fd err_read{err[0]};
  unique_fd err_write{err[1]};
  const auto child = ::fork();
  if (child < 0)
    return fail(errc::exhausted, "cannot start a process: " + varlink::system_message(errno));
  if (child == 0) {
    ::dup2(out_write.get(), STDOUT_FILENO);
    ::dup2(err_write.get(), STDERR_FILENO);
    write_all(STDERR_FILENO, execute(words).text);
    ::_exit(exit_code::failed);
  }
  out_write.reset();
  err_write.reset();
  // It says one line on one of them.
  ended_program left;
  left.out = read_all(out_read);
  left.err = read_all(err_read);
  while (::waitpid(child, &left.status, 0) < 0 && errno == EINTR) {
  }
  return left;
}

bool has_done_well(const ended_program& one) {
  return WIFEXITED(one.status) && WEXITSTATUS(one.status) == 0;
}

error its_words(const char* program, ended_program&& one) {
  one.err.erase(std::min(one.err.find('\n'), one.err.size()));
  return {errc::storage,
          one.err.empty() ? std::string{program} + " ended without a word" : one.err};
}

} // namespace

expected<std::string> run_daemon_once(const std::string& state, const std::string& action) {
  auto program = find_daemon();
  if (!program)
    return program;
  auto left = run_to_its_end({*program, "--private", "--state", state, "--socket",
                              state::socket_of(state), "--ledger", action});
  if (!left)
    return tl::unexpected{left.error()};
  if (has_done_well(*left))
    return std::move(left->out);
  return tl::unexpected{its_words("trouped", std::move(*left))};
}

expected<std::uint32_t> count_survivors(const std::string& state) {
  struct stat list {};
  if (::stat((state + "/launcher/running").c_str(), &list) != 0 || list.st_size == 0)
    return 0; // its keeper empties it when nothing is left
  auto program = find_program("troupe-launcher");
  if (!program)
    return tl::unexpected{program.error()};
  auto left = run_to_its_end({*program, "survivors", "--state", state + "/launcher"});
  if (!left)
    return tl::unexpected{left.error()};
  std::uint32_t number = 0;
  const auto* const end = left->out.data() + left->out.size();
  if (!has_done_well(*left) || std::from_chars(left->out.data(), end, number).ec != std::errc{})
    return tl::unexpected{its_words("troupe-launcher", std::move(*left))};
  return number;
}

expected<std::optional<cluster_now>> await_daemon(const invocation& run, const std::string& state) {
  return readiness{run, state, {}}.wait();
}

} // namespace troupe::cli
