// SPDX-License-Identifier: Apache-2.0
#include "cluster_harness.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <set>
#include <spawn.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

extern char** environ;

namespace troupe::test {

namespace {

std::string new_name(const std::string& folder, const char* kind) {
  static std::atomic<unsigned> count{0};
  return folder + "/." + kind + std::to_string(++count);
}

std::vector<char*> pointers(const std::vector<std::string>& of) {
  std::vector<char*> result;
  for (const auto& each : of)
    result.push_back(const_cast<char*>(each.c_str()));
  result.push_back(nullptr);
  return result;
}

/// One variable of a process; "" when it has none or is not ours to look at.
bool environment_has(pid_t pid, const std::string& entry) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/environ");
  return text.find(entry) != std::string::npos;
}

std::vector<pid_t> processes_with(const std::string& entry) {
  std::vector<pid_t> result;
  auto* all = ::opendir("/proc");
  if (all == nullptr)
    return result;
  while (auto* each = ::readdir(all)) {
    const auto pid = static_cast<pid_t>(std::atoi(each->d_name));
    if (pid > 1 && pid != ::getpid() && is_alive(pid) && environment_has(pid, entry))
      result.push_back(pid);
  }
  ::closedir(all);
  return result;
}

} // namespace

bool is_alive(pid_t pid) {
  if (pid <= 0)
    return false;
  // A zombie has nothing left but its number.
  const auto stat = read_file("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end != std::string::npos && name_end + 2 < stat.size() && stat[name_end + 2] != 'Z' &&
         stat[name_end + 2] != 'X';
}

std::string read_file(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> result;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);)
    result.push_back(line);
  return result;
}

void check_each_once(const std::string& text, int first, int last) {
  std::multiset<int> seen;
  for (const auto& line : lines_of(text))
    seen.insert(std::stoi(line));
  for (int i = first; i <= last; ++i)
    if (seen.count(i) != 1)
      FAIL_CHECK("element " << i << " ran " << seen.count(i) << " times");
  CHECK(seen.size() == static_cast<std::size_t>(last - first + 1));
}

void kill_and_wait(pid_t pid) {
  if (pid <= 1)
    return;
  ::kill(pid, SIGKILL);
  if (!eventually([&] { return !is_alive(pid); }))
    FAIL("process " << pid << " survives SIGKILL");
}

// -- programs -----------------------------------------------------------------

running_program::running_program(const words& command, const std::string& folder,
                                 const std::vector<std::string>& environment, int input)
    : out_path_{new_name(folder, "out")}, err_path_{new_name(folder, "err")} {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  if (input < 0)
    ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  else
    ::posix_spawn_file_actions_adddup2(&actions, input, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, out_path_.c_str(), O_WRONLY | O_CREAT, 0600);
  ::posix_spawn_file_actions_addopen(&actions, 2, err_path_.c_str(), O_WRONLY | O_CREAT, 0600);
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  const auto failed = ::posix_spawnp(&pid_, command.front().c_str(), &actions, nullptr,
                                     pointers(command).data(), pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  if (failed != 0)
    FAIL("cannot start " << command.front() << ": error " << failed);
}

running_program::running_program(running_program&& other) noexcept
    : pid_{std::exchange(other.pid_, 0)}, exit_{other.exit_}, out_path_{std::move(other.out_path_)},
      err_path_{std::move(other.err_path_)} {}

running_program::~running_program() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

std::string running_program::out() const {
  return read_file(out_path_);
}
std::string running_program::err() const {
  return read_file(err_path_);
}

void running_program::take_status(int status) {
  exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  pid_ = 0;
}

bool running_program::ended() {
  int status = 0;
  if (pid_ > 0 && ::waitpid(pid_, &status, WNOHANG) == pid_)
    take_status(status);
  return pid_ == 0;
}

void running_program::signal(int number) {
  if (pid_ > 0)
    ::kill(pid_, number);
}

outcome running_program::wait(std::chrono::milliseconds deadline) {
  if (!eventually([&] { return ended(); }, deadline)) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  return {exit_, out(), err()};
}

// -- the cluster ----------------------------------------------------------------

test_cluster::test_cluster(cluster_shape how) : how_{std::move(how)} {
  char name[] = "/tmp/troupe-test-XXXXXX";
  if (::mkdtemp(name) == nullptr)
    FAIL("cannot make a directory in /tmp");
  folder_ = name;
  state_ = how_.state.empty() ? folder_ + "/state" : how_.state;
  work_ = folder_ + "/work";
  ::mkdir(work_.c_str(), 0700);
  for (auto** each = environ; *each != nullptr; ++each) {
    const std::string entry{*each};
    if (entry.rfind("TROUPE", 0) != 0 && entry.rfind("PATH=", 0) != 0 &&
        entry.rfind("XDG_", 0) != 0)
      environment_.push_back(entry);
  }
  const char* path = std::getenv("PATH");
  programs_ = how_.with_faults == nullptr ? TROUPE_PROGRAMS : faults::programs();
  environment_.push_back("PATH=" + programs_ + ":" + (path == nullptr ? "" : path));
  if (how_.with_faults != nullptr)
    for (auto& entry : how_.with_faults->environment())
      environment_.push_back(entry);
  environment_.push_back("TROUPE_STATE_DIR=" + state_);
  if (!how_.config.empty())
    configure(how_.config);
  up();
}

void test_cluster::configure(const std::string& text) const {
  ::mkdir(state_.c_str(), 0700);
  std::ofstream{state_ + "/troupe.toml"} << text;
}

test_cluster::~test_cluster() {
  // TROUPE_TEST_KEEP leaves the directory, with trouped's log in it, to be looked at.
  const auto keep = std::getenv("TROUPE_TEST_KEEP") != nullptr;
  try {
    (void)troupe(keep ? words{"down"} : words{"down", "--purge"}, 40s);
    for (auto pid : processes()) {
      ::kill(pid, SIGKILL);
      (void)eventually([&] { return !is_alive(pid); });
    }
  } catch (...) {
    // A test that has failed already must still be able to say so.
  }
  if (keep)
    return;
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

outcome test_cluster::try_up() {
  const auto nodes = std::to_string(how_.nodes);
  const auto cores = std::to_string(how_.cores);
  if (how_.daemon_options.empty()) {
    auto command = how_.before_up;
    command.insert(command.end(),
                   {programs_ + "/troupe", "up", "--nodes", nodes, "--cores", cores});
    return running_program{command, work_, environment_}.wait();
  }
  const auto daemon = programs_ + "/trouped";
  words command{daemon,    "--private", "--state", state_, "--socket", state_ + "/socket",
                "--nodes", nodes,       "--cores", cores};
  command.insert(command.end(), how_.daemon_options.begin(), how_.daemon_options.end());
  // As init would: nobody waits for it, and its words go to its log.
  words detached{"setsid", "-f", "sh", "-c", "exec \"$@\" >>../trouped.log 2>&1", "sh"};
  detached.insert(detached.end(), command.begin(), command.end());
  auto started = running_program{detached, work_, environment_}.wait();
  if (started.exit != 0)
    return started;
  eventually([&] { return troupe({"nodes"}).exit == 0; });
  return troupe({"up"});
}

void test_cluster::up() {
  const auto done = try_up();
  INFO(done.err);
  REQUIRE(done.exit == 0);
}

outcome test_cluster::troupe(const words& arguments, std::chrono::milliseconds deadline) {
  return start(arguments).wait(deadline);
}

running_program test_cluster::start(const words& arguments, int input) {
  words command{programs_ + "/troupe"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return running_program{command, work_, environment_, input};
}

json test_cluster::ask(words arguments) {
  // What follows a job's command is the command's own.
  const auto takes_command = arguments.front() == "submit" || arguments.front() == "run";
  arguments.insert(takes_command ? arguments.begin() + 1 : arguments.end(), "--json");
  const auto done = troupe(arguments);
  INFO(arguments.front() << ": " << done.err);
  REQUIRE(done.exit == 0);
  auto value = json::parse(done.out, nullptr, false);
  INFO(done.out);
  REQUIRE(!value.is_discarded());
  return value;
}

std::string test_cluster::submit(words arguments) {
  arguments.insert(arguments.begin(), "submit");
  const auto done = troupe(arguments);
  INFO(done.err);
  REQUIRE(done.exit == 0);
  const auto lines = lines_of(done.out);
  REQUIRE(lines.size() == 1);
  REQUIRE(lines.front().find_first_not_of("0123456789") == std::string::npos);
  REQUIRE(!lines.front().empty());
  return lines.front();
}

std::string test_cluster::submit_shell(words options, const std::string& script) {
  options.insert(options.end(), {"sh", "-c", script});
  return submit(std::move(options));
}

outcome test_cluster::run_shell(words options, const std::string& script) {
  options.insert(options.begin(), "run");
  options.insert(options.end(), {"sh", "-c", script});
  return troupe(options);
}

pid_t test_cluster::trouped() const {
  return static_cast<pid_t>(std::atoi(read_file(state_ + "/trouped.pid").c_str()));
}

pid_t test_cluster::launcher() const {
  const auto mark = state_ + "/launcher";
  for (auto pid : processes()) {
    auto command = read_file("/proc/" + std::to_string(pid) + "/cmdline");
    std::replace(command.begin(), command.end(), '\0', ' ');
    if (command.find("troupe-launcher run ") != std::string::npos &&
        command.find(mark) != std::string::npos)
      return pid;
  }
  return 0;
}

void test_cluster::kill_trouped() {
  const auto pid = trouped();
  REQUIRE(is_alive(pid));
  kill_and_wait(pid);
}

void test_cluster::kill_launcher() {
  const auto pid = launcher();
  REQUIRE(pid > 1);
  kill_and_wait(pid);
}

void test_cluster::end_trouped(int signal) {
  const auto pid = trouped();
  REQUIRE(is_alive(pid));
  ::kill(pid, signal);
  REQUIRE(eventually([&] { return !is_alive(pid); }));
}

json test_cluster::row_of(const std::string& id) {
  const auto done = troupe({"show", id, "--json"});
  if (done.exit != 0)
    return {};
  auto value = json::parse(done.out, nullptr, false);
  return value.is_discarded() ? json{} : value["job"]["row"];
}

std::string test_cluster::state_of(const std::string& id) {
  const auto element_at = id.find('_');
  if (element_at == std::string::npos) {
    const auto row = row_of(id);
    return row.is_object() ? row["state"].get<std::string>() : "";
  }
  const auto done = troupe({"show", id, "--json"});
  auto value = json::parse(done.out, nullptr, false);
  if (done.exit != 0 || value.is_discarded())
    return "";
  for (const auto& each : value["job"]["elements"])
    if (each["element"].get<std::uint64_t>() == std::stoull(id.substr(element_at + 1)))
      return each["state"].get<std::string>();
  return "";
}

bool test_cluster::reaches(const std::string& id, const std::string& state,
                           std::chrono::milliseconds deadline) {
  return eventually([&] { return state_of(id) == state; }, deadline);
}

outcome test_cluster::wait(const std::string& id) {
  return troupe({"wait", id}, 60s);
}

std::string test_cluster::file(const std::string& name) const {
  return read_file(path(name));
}

void test_cluster::write(const std::string& name, const std::string& text, int mode) const {
  std::ofstream{path(name), std::ios::binary} << text;
  ::chmod(path(name).c_str(), static_cast<mode_t>(mode));
}

std::vector<pid_t> test_cluster::processes() const {
  return processes_with("TROUPE_STATE_DIR=" + state_);
}

std::vector<pid_t> test_cluster::job_processes() const {
  std::vector<pid_t> result;
  for (auto pid : processes())
    if (environment_has(pid, "TROUPE_JOB_ID="))
      result.push_back(pid);
  return result;
}

} // namespace troupe::test
