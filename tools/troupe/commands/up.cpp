// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "config/cluster_config.hpp"
#include "messages/json.hpp"
#include "runtime/varlink/socket_address.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/session.hpp"
#include "tools/troupe/shape.hpp"
#include "tools/troupe/values.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <csignal>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

// Purpose: a cluster of one's own. Action: starts trouped in a session of its own with its words
// going to a log file, and waits until it answers. Caveats: a cluster that is up is left as it is,
// whatever was asked.

namespace troupe::cli {

namespace {

using std::chrono::milliseconds;
using clock = std::chrono::steady_clock;

constexpr auto ready_within = std::chrono::seconds{10};
constexpr auto other_ready_within = milliseconds{500};
constexpr auto gone_within = std::chrono::seconds{2};
constexpr auto ready_poll = milliseconds{5};
constexpr std::size_t log_tail_bytes = 1500;
constexpr std::uint64_t nodes_here_max = 64;
constexpr std::uint64_t cores_here_max = 1024;

struct up_options {
  std::string nodes;
  std::string cores;
  std::string config;
  bool foreground = false;
};

struct places {
  std::string state;
  std::string socket;
  std::string log() const { return state + "/trouped.log"; }
};

expected<places> find_places() {
  auto state = state_directory();
  if (!state)
    return tl::unexpected{state.error()};
  auto socket = socket_path();
  if (!socket)
    return tl::unexpected{socket.error()};
  if (auto address = varlink::socket_address(*socket); !address)
    return tl::unexpected{address.error()};
  return places{*state, *socket};
}

std::string describe(std::uint32_t nodes, std::uint32_t cores) {
  auto count = [](std::uint32_t number, const char* one) {
    return std::to_string(number) + " " + one + (number == 1 ? "" : "s");
  };
  return count(nodes, "node") + " with " + count(cores, "core") + (nodes == 1 ? "" : " each");
}

std::string describe_sharing(const shape& of) {
  auto here = machine_cores();
  auto asked = std::uint64_t{of.nodes} * of.cores;
  if (asked <= here)
    return {};
  return "over-subscribed: its " + std::to_string(asked) + " cores share this machine's " +
         std::to_string(here) + "; jobs will run slower than they would alone\n";
}

expected<std::optional<shape>> asked_shape(const up_options& options, const shape& otherwise) {
  if (options.nodes.empty() && options.cores.empty())
    return std::optional<shape>{};
  auto result = otherwise;
  auto take = [](const char* name, const std::string& text, std::uint64_t most,
                 std::uint32_t& to) -> expected<void> {
    if (text.empty())
      return {};
    auto number = parse_number(text, 1, most);
    if (!number)
      return fail(errc::invalid, std::string{name} + ": " + number.error().text);
    to = static_cast<std::uint32_t>(*number);
    return {};
  };
  if (auto taken = take("--nodes", options.nodes, nodes_here_max, result.nodes); !taken)
    return tl::unexpected{taken.error()};
  if (auto taken = take("--cores", options.cores, cores_here_max, result.cores); !taken)
    return tl::unexpected{taken.error()};
  if (options.cores.empty())
    result.cores = std::max(1u, machine_cores() / result.nodes);
  return std::optional{result};
}

/// The last words of trouped, in one line.
std::string log_tail(const std::string& path) {
  unique_fd log{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (!log)
    return {};
  auto size = ::lseek(log.get(), 0, SEEK_END);
  std::array<char, log_tail_bytes> buffer{};
  auto from =
      size > static_cast<off_t>(buffer.size()) ? size - static_cast<off_t>(buffer.size()) : 0;
  auto got = ::pread(log.get(), buffer.data(), buffer.size(), from);
  std::string text{buffer.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  if (from > 0)
    text.erase(0, text.find('\n') + 1);
  return text;
}

class starter {
public:
  starter(const invocation& run, const up_options& options, places at)
      : run_{run}, options_{options}, at_{std::move(at)} {}

  int run() {
    auto remembered = read_shape(at_.state);
    auto asked = asked_shape(options_, remembered.value_or(default_shape()));
    if (!asked)
      return report_usage(run_, asked.error().text);
    if (auto exit = already_up(*asked))
      return *exit;
    shape_ = asked->value_or(remembered.value_or(default_shape()));
    if (auto exit = take_config())
      return *exit;
    if (auto prepared = prepare(); !prepared)
      return report(run_, prepared.error());
    return options_.foreground ? become() : start();
  }

private:
  /// What answers on the socket. None: nobody listens. A server that was just killed may still take
  /// connections, and breaks them: it is given a moment to be gone.
  std::optional<expected<answered<calls::summary::reply>>> look_for_cluster() {
    std::optional<expected<answered<calls::summary::reply>>> last;
    for (auto until = clock::now() + gone_within; clock::now() < until;
         std::this_thread::sleep_for(ready_poll)) {
      auto to = session::connect(milliseconds{1000});
      if (!to)
        return {};
      last = to->call(calls::summary{});
      if (*last || last->error().code != errc::unreachable)
        break;
    }
    return last;
  }

  std::optional<int> already_up(const std::optional<shape>& asked) {
    auto found = look_for_cluster();
    if (!found)
      return {};
    auto& summary = *found;
    if (!summary)
      return report(run_, {summary.error().code,
                           "a server listens on " + at_.socket +
                               " but does not answer as a cluster does: " + summary.error().text});
    const auto& now = summary->value;
    auto cores_each = now.nodes == 0 ? now.cores : now.cores / now.nodes;
    if (asked && (asked->nodes != now.nodes || asked->cores != cores_each))
      return report(run_,
                    {errc::conflict, "a cluster of " + describe(now.nodes, cores_each) +
                                         " is up, not of " + describe(asked->nodes, asked->cores) +
                                         "; run 'troupe down' first to change it"});
    return tell(*summary, "already up");
  }

  int tell(const answered<calls::summary::reply>& summary, const char* how) {
    if (run_.json)
      return print(summary.json + "\n") ? exit_code::done : exit_code::failed;
    const auto& now = summary.value;
    auto cores_each = now.nodes == 0 ? now.cores : now.cores / now.nodes;
    auto text = std::string{how} + ": " + describe(now.nodes, cores_each) + ", socket " +
                at_.socket + "\n" + describe_sharing({now.nodes, cores_each});
    return print(text) ? exit_code::done : exit_code::failed;
  }

  /// The configuration is checked here, where its problems can be read at once.
  std::optional<int> take_config() {
    if (!options_.config.empty()) {
      std::array<char, PATH_MAX> path{};
      if (::realpath(options_.config.c_str(), path.data()) == nullptr)
        return report(run_, {errc::not_found, "--config: " + options_.config + ": " +
                                                  varlink::system_message(errno)});
      shape_.config = path.data();
    }
    const auto own = at_.state + "/troupe.toml";
    config_ = !shape_.config.empty()             ? shape_.config
              : ::access(own.c_str(), F_OK) == 0 ? own
                                                 : std::string{};
    if (config_.empty())
      return {};
    const auto reading = read_config_file(config_);
    if (!reading.config)
      return report(run_, to_error(reading.problems));
    return {};
  }

  expected<void> prepare() {
    if (auto made = make_private_directory(at_.state); !made)
      return made;
    auto folder = at_.socket.substr(0, at_.socket.rfind('/'));
    if (folder != at_.state && std::getenv("TROUPE_SOCKET") == nullptr)
      if (auto made = make_private_directory(folder); !made)
        return made;
    auto found = find_program("trouped");
    if (!found)
      return tl::unexpected{found.error()};
    trouped_ = *found;
    // trouped starts it; looked for here, because a sentence here is easier to find than one in a
    // log.
    if (auto launcher = find_program("troupe-launcher"); !launcher)
      return tl::unexpected{launcher.error()};
    return write_shape(at_.state, shape_);
  }

  std::vector<std::string> arguments() const {
    std::vector<std::string> words{trouped_,   "--private",
                                   "--state",  at_.state,
                                   "--socket", at_.socket,
                                   "--nodes",  std::to_string(shape_.nodes),
                                   "--cores",  std::to_string(shape_.cores)};
    if (!config_.empty())
      words.insert(words.end(), {"--config", config_});
    if (options_.foreground)
      words.push_back("--foreground");
    return words;
  }

  [[noreturn]] void execute(const std::vector<std::string>& words) const {
    std::vector<char*> raw;
    for (const auto& word : words)
      raw.push_back(const_cast<char*>(word.c_str()));
    raw.push_back(nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    ::execv(raw[0], raw.data());
    notice(run_, "cannot start " + trouped_ + ": " + varlink::system_message(errno));
    ::_exit(exit_code::failed);
  }

  int become() {
    auto sharing = describe_sharing(shape_);
    if (!sharing.empty())
      notice(run_, sharing.substr(0, sharing.size() - 1));
    execute(arguments());
  }

  int start() {
    unique_fd log{
        ::open(at_.log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)};
    unique_fd nothing{::open("/dev/null", O_RDWR | O_CLOEXEC)};
    if (!log || !nothing)
      return report(run_, {errc::storage,
                           "cannot open " + at_.log() + ": " + varlink::system_message(errno)});
    auto log_before = ::lseek(log.get(), 0, SEEK_END);
    auto words = arguments();
    auto child = ::fork();
    if (child < 0)
      return report(run_,
                    {errc::exhausted, "cannot start a process: " + varlink::system_message(errno)});
    if (child == 0) {
      ::setsid();
      // The directory that this command was called from should stay removable.
      if (::chdir("/") != 0)
        ::_exit(exit_code::failed);
      ::dup2(nothing.get(), STDIN_FILENO);
      ::dup2(log.get(), STDOUT_FILENO);
      ::dup2(log.get(), STDERR_FILENO);
      execute(words);
    }
    return wait_until_ready(child, log_before);
  }

  int wait_until_ready(pid_t child, off_t log_before) {
    bool ended = false;
    for (auto until = clock::now() + ready_within; clock::now() < until;
         std::this_thread::sleep_for(ready_poll)) {
      if (auto to = session::connect(milliseconds{1000}))
        if (auto summary = to->call(calls::summary{}); summary && summary->value.state == "ready")
          return tell(*summary, ended ? "already up" : "up");
      int status = 0;
      if (!ended && ::waitpid(child, &status, WNOHANG) == child &&
          !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        // Another 'troupe up' may have come first: its trouped has the ledger, and answers soon.
        ended = true;
        until = std::min(until, clock::now() + other_ready_within);
      }
    }
    return failed(ended ? "trouped ended before it was ready"
                        : "trouped did not answer within " + std::to_string(ready_within.count()) +
                              " s",
                  log_before);
  }

  int failed(const std::string& what, off_t log_before) {
    auto exit = report(run_, {errc::conflict, what + "; its log is " + at_.log()});
    struct stat log {};
    if (::stat(at_.log().c_str(), &log) == 0 && log.st_size > log_before)
      write_all(STDERR_FILENO, log_tail(at_.log()));
    return exit;
  }

  const invocation& run_;
  const up_options& options_;
  places at_;
  shape shape_;
  std::string config_;
  std::string trouped_;
};

int up(const invocation& run, const up_options& options) {
  auto at = find_places();
  if (!at)
    return report(run, at.error());
  return starter{run, options, std::move(*at)}.run();
}

} // namespace

void define_up(CLI::App& app, invocation& run) {
  app.footer("The cluster runs as you and needs no configuration. Its state is in "
             "TROUPE_STATE_DIR, $XDG_STATE_HOME/troupe or\n"
             "~/.local/state/troupe. After a crash, 'troupe up' finds every job again. A second "
             "'troupe up' changes nothing.");
  auto options = std::make_shared<up_options>();
  app.add_option("--nodes", options->nodes, "how many nodes this machine plays (1, or as before)")
      ->type_name("N");
  app.add_option("--cores", options->cores,
                 "cores of each node (an equal part of this machine's, or as before)")
      ->type_name("C");
  app.add_option("--config", options->config,
                 "the configuration (troupe.toml in the state directory, or as before)")
      ->type_name("FILE");
  app.add_flag("--foreground", options->foreground, "stay here and log to the terminal");
  run.act = [&run, options] { return up(run, *options); };
}

} // namespace troupe::cli
