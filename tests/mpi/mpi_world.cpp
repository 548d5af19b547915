// SPDX-License-Identifier: Apache-2.0
#include "tests/mpi/mpi_world.hpp"

#include "tools/stub/protocol.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace troupe::testing {

namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

struct ends {
  unique_fd first;
  unique_fd second;
};

ends make_pair(int type) {
  int fds[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0)
    throw std::runtime_error{std::string{"socketpair: "} + std::strerror(errno)};
  return {unique_fd{fds[0]}, unique_fd{fds[1]}};
}

std::string read_file(const std::string& path) {
  std::ifstream file{path};
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (const auto& text : texts)
    all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

struct start_plan {
  std::vector<std::string> argv;
  std::vector<std::string> env;
  std::string output_path;
  int third = -1;
  int fourth = -1;
  int death_signal = SIGKILL;
};

/// A child as the launcher makes it: descriptors 3 and 4, and nothing else but the standard three.
pid_t start(const start_plan& plan) {
  auto argv = pointers(plan.argv);
  auto env = pointers(plan.env);
  const auto parent = ::getpid();
  const auto pid = ::fork();
  if (pid != 0)
    return pid;
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, plan.death_signal);
  if (::getppid() != parent)
    ::_exit(126);
  const int input = ::open("/dev/null", O_RDONLY);
  const int output = ::open(plan.output_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  // Out of the way first, so that placing one does not close the other.
  const int third = ::fcntl(plan.third, F_DUPFD_CLOEXEC, 100);
  const int fourth = ::fcntl(plan.fourth, F_DUPFD_CLOEXEC, 100);
  ::dup2(input, 0);
  ::dup2(output, 1);
  ::dup2(output, 2);
  ::dup2(third, 3);
  ::dup2(fourth, 4);
  for (int fd = 5; fd < 200; ++fd)
    ::close(fd);
  ::execve(argv[0], argv.data(), env.data());
  ::_exit(127);
}

std::vector<std::string> world_environment(const std::string& folder) {
  return {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + folder, "TMPDIR=" + folder + "/tmp"};
}

std::uint64_t make_job_number() {
  static std::uint64_t count = 0;
  return static_cast<std::uint64_t>(::getpid()) * 1000 + ++count;
}

std::uint32_t first_with_ranks(const shepherd::register_step& about) {
  std::uint32_t index = 0;
  while (index + 1 < about.nodes.size() && about.nodes[index].rank_count == 0)
    ++index;
  return index;
}

std::string make_folder() {
  auto path = (fs::temp_directory_path() / "troupe-mpi-test-XXXXXX").string();
  if (::mkdtemp(path.data()) == nullptr)
    throw std::runtime_error{"no folder for the test: " + path};
  fs::create_directory(path + "/tmp");
  return path;
}

} // namespace

std::string mpi_program(const std::string& name) {
  return std::string{TROUPE_MPI_PROGRAMS} + "/" + name;
}

mpi_world::mpi_world(std::uint32_t nodes) : folder_{make_folder()}, job_{make_job_number()} {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
    throw std::runtime_error{"pipe2"};
  errors_read_.reset(fds[0]);
  errors_write_.reset(fds[1]);
  nodes_.resize(nodes);
}

mpi_world::~mpi_world() {
  for (auto& [number, step] : steps_)
    for (auto& [rank, record] : step.ranks)
      if (record.pid > 0 && !record.ended) {
        ::kill(-record.pid, SIGKILL);
        ::waitpid(record.pid, nullptr, 0);
      }
  for (auto& each : nodes_)
    if (each.pid > 0 && !each.ended) {
      ::kill(each.pid, SIGTERM); // within two seconds, and what it made goes with it
      ::waitpid(each.pid, nullptr, 0);
    }
  // Of shepherds that a test killed.
  const auto shared = "/dev/shm/troupe-" + std::to_string(::geteuid());
  std::error_code ignored;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i)
    fs::remove_all(shared + "/" + session_name(i), ignored);
  fs::remove(shared, ignored); // if it is empty
  fs::remove_all(folder_, ignored);
}

std::string mpi_world::session_name(std::uint32_t index) const {
  return std::to_string(job_) + ".0.0." + std::to_string(index);
}

void mpi_world::start_shepherd(std::uint32_t index) {
  auto& n = nodes_[index];
  if (n.pid != 0)
    return;
  auto agent = make_pair(SOCK_SEQPACKET);
  auto channel = make_pair(SOCK_SEQPACKET);
  start_plan plan;
  plan.argv = {TROUPE_SHEPHERD};
  plan.env = world_environment(folder_);
  plan.output_path = folder_ + "/shepherd-" + std::to_string(index);
  plan.third = agent.second.get();
  plan.fourth = channel.second.get();
  plan.death_signal = SIGTERM;
  n.pid = testing::start(plan);
  n.agent = std::move(agent.first);
  n.channel = std::move(channel.first);
  n.channel_copy = std::move(channel.second);
  shepherd::to_shepherd frame;
  frame.hello.emplace();
  send(index, frame);
}

void mpi_world::send(std::uint32_t index, const shepherd::to_shepherd& frame) {
  if (agents_dead_ || !nodes_[index].agent)
    return;
  std::vector<std::vector<std::uint8_t>> packets;
  shepherd::packets_of(to_cbor(frame), packets);
  for (const auto& packet : packets)
    (void)!::send(nodes_[index].agent.get(), packet.data(), packet.size(), MSG_NOSIGNAL);
}

std::uint32_t mpi_world::add_step(step_wish wish) {
  const auto number = next_step_++;
  auto& step = steps_[number];
  auto& about = step.about;
  about.job = job_;
  about.step = number;
  about.nspace = "troupe." + std::to_string(job_) + "." + std::to_string(number);
  about.mpi = wish.mpi;
  about.cpusets = wish.cpusets;
  about.notify_failures = wish.notify_failures;
  about.universe_size = 64;
  wish.ranks_per_node.resize(nodes_.size());
  std::uint32_t first = 0;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    auto& entry = about.nodes.emplace_back();
    entry.name = "node" + std::to_string(i + 1);
    entry.rank_first = first;
    entry.rank_count = wish.ranks_per_node[i];
    for (std::uint32_t local = 0; local < entry.rank_count; ++local) {
      const auto rank =
          wish.by_node ? local * static_cast<std::uint32_t>(nodes_.size()) + i : first + local;
      if (wish.by_node)
        entry.ranks.push_back(rank);
      auto& record = step.ranks[rank];
      record.node = i;
      record.local = local;
      record.output_path = folder_ + "/out-" + std::to_string(number) + "-" + std::to_string(rank);
    }
    first += entry.rank_count;
  }
  about.ranks_total = first;
  about.keeper = first_with_ranks(about);
  about.shares_cores = first > std::thread::hardware_concurrency();
  step.wish = std::move(wish);
  return number;
}

/// On every node that has a shepherd or gets one by this step; steps that are there already are
/// said to new shepherds as well.
void mpi_world::register_on_all(std::uint32_t number) {
  auto& step = steps_.at(number);
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const bool is_new = nodes_[i].pid == 0;
    if (is_new && step.about.nodes[i].rank_count == 0)
      continue;
    start_shepherd(i);
    for (auto& [other, each] : steps_) {
      if (each.forgotten || (other != number && !is_new))
        continue;
      shepherd::to_shepherd frame;
      frame.register_step = each.about;
      frame.register_step->node_index = i;
      send(i, frame);
      if (other == number)
        step.registered[i] = false;
    }
  }
}

std::uint32_t mpi_world::start(step_wish wish) {
  const auto number = add_step(std::move(wish));
  register_on_all(number);
  start_ranks(number); // at once: a stub waits for its step
  return number;
}

void mpi_world::start_ranks(std::uint32_t number) {
  auto& step = steps_.at(number);
  step.started = true;
  for (auto& [rank, record] : step.ranks)
    start_rank(step, rank, record);
}

void mpi_world::start_rank(step_record& step, std::uint32_t rank, rank_record& record) {
  start_plan plan;
  plan.argv = {TROUPE_STUB, std::to_string(record.local), std::to_string(step.about.step)};
  for (const auto& each : step.wish.argv)
    plan.argv.push_back(each);
  plan.env = world_environment(folder_);
  plan.env.push_back("TROUPE_RANK=" + std::to_string(rank));
  for (const auto& each : step.wish.env)
    plan.env.push_back(each);
  plan.output_path = record.output_path;
  plan.third = nodes_[record.node].channel.get();
  plan.fourth = errors_write_.get();
  record.pid = testing::start(plan);
}

step_record& mpi_world::run(step_wish wish, std::chrono::milliseconds deadline) {
  const auto number = start(std::move(wish));
  if (!wait_for([&] { return all_ended(); }, deadline))
    for (std::uint32_t i = 0; i < nodes_.size(); ++i)
      failures.push_back("not all ranks ended in time; " + shepherd_log(i));
  return steps_.at(number);
}

bool mpi_world::all_ended() const {
  for (const auto& [number, step] : steps_)
    for (const auto& [rank, record] : step.ranks)
      if (!record.ended)
        return false;
  return true;
}

bool mpi_world::wait_for(const std::function<bool()>& done, std::chrono::milliseconds deadline) {
  const auto end = clock::now() + deadline;
  while (!done()) {
    if (clock::now() >= end)
      return false;
    pump(20);
  }
  return true;
}

void mpi_world::pump(int timeout_ms) {
  std::vector<pollfd> entries;
  for (const auto& each : nodes_)
    entries.push_back({each.agent.get(), POLLIN, 0}); // -1 is left out by poll
  entries.push_back({errors_read_.get(), POLLIN, 0});
  // SIGCHLD would do as well; a short turn keeps this free of handlers.
  (void)::poll(entries.data(), entries.size(), std::min(timeout_ms, 2));
  for (std::uint32_t i = 0; i < nodes_.size(); ++i)
    if ((entries[i].revents & (POLLIN | POLLHUP)) != 0)
      read_agent(i);
  read_start_errors();
  reap();
}

void mpi_world::read_agent(std::uint32_t index) {
  auto& n = nodes_[index];
  std::vector<std::uint8_t> packet(shepherd::packet_bytes_max);
  for (;;) {
    const auto got = ::recv(n.agent.get(), packet.data(), packet.size(), MSG_DONTWAIT);
    if (got < 0)
      return;
    if (got == 0)
      return n.agent.reset();
    if (agents_dead_) {
      ++relays_lost;
      continue;
    }
    const auto complete = n.reader.take({packet.data(), static_cast<std::size_t>(got)});
    if (!complete)
      throw std::runtime_error{complete.error().text};
    if (!*complete)
      continue;
    auto frame = from_cbor<shepherd::to_agent>(n.reader.frame());
    if (!frame)
      throw std::runtime_error{frame.error().text};
    take(index, std::move(*frame));
  }
}

void mpi_world::take(std::uint32_t index, shepherd::to_agent frame) {
  if (frame.relay) {
    ++relays;
    shepherd::to_shepherd on;
    auto to = frame.relay->node;
    if (nodes_[to].ended) {
      on.peer_gone = {to, false};
      to = index;
    } else {
      on.relay = std::move(*frame.relay);
      on.relay->node = index;
    }
    send(to, on);
  }
  if (frame.registered) {
    auto& step = steps_.at(frame.registered->step);
    step.registered[index] = true;
    bool all = true;
    for (const auto& [node, done] : step.registered)
      all = all && done;
    if (all && step.asked_by && !step.started) {
      start_ranks(frame.registered->step);
      shepherd::to_shepherd answer;
      answer.spawn_answer = {step.asked_by->request, step.about.nspace, ""};
      send(step.asked_by->node, answer);
    }
  }
  if (frame.spawn_request)
    take_spawn(index, *frame.spawn_request);
  if (frame.abort) {
    auto& step = steps_.at(frame.abort->step);
    step.aborts.push_back(*frame.abort);
    // Who hears of the first may abort, too: the first then ends by itself all the same.
    for (auto& [rank, record] : step.ranks)
      if (!record.ended && rank != step.aborts.front().rank)
        ::kill(-record.pid, SIGTERM);
  }
  if (frame.connected)
    steps_.at(frame.connected->step).counts[index] = *frame.connected;
  if (frame.log)
    logs.push_back(*frame.log);
  if (frame.signal_request)
    signals.push_back(*frame.signal_request);
  if (frame.forgotten)
    steps_.at(frame.forgotten->step).forgotten_on.insert(index);
  if (frame.failed)
    failures.push_back(frame.failed->why);
}

/// All ranks of a spawned step start on node 2 where there is one: away from the spawning rank 0.
void mpi_world::take_spawn(std::uint32_t index, const shepherd::spawn_request& from) {
  const step_record::asker asked_by{index, from.request};
  for (const auto& [number, each] : steps_)
    if (each.asked_by == asked_by)
      return; // said again after a hello
  if (!refuse_spawns.empty()) {
    shepherd::to_shepherd answer;
    answer.spawn_answer = {from.request, "", refuse_spawns};
    return send(index, answer);
  }
  step_wish wish;
  wish.mpi = from.mpi;
  wish.argv = from.apps.front().argv;
  for (const auto& [number, each] : steps_)
    if (each.about.nspace == from.parent.nspace)
      wish.env = each.wish.env;
  for (const auto& each : from.apps.front().env)
    wish.env.push_back(each);
  std::uint32_t ranks = 0;
  for (const auto& app : from.apps)
    ranks += app.ranks;
  wish.ranks_per_node.assign(nodes_.size(), 0);
  wish.ranks_per_node.back() = ranks;
  const auto number = add_step(std::move(wish));
  auto& step = steps_.at(number);
  step.about.parent = from.parent;
  for (const auto& [other, each] : steps_)
    if (each.about.nspace == from.parent.nspace)
      step.about.keeper = each.about.keeper;
  step.asked_by = asked_by;
  register_on_all(number);
}

void mpi_world::read_start_errors() {
  stub::start_failure failure;
  while (::read(errors_read_.get(), &failure, sizeof failure) == sizeof failure)
    for (auto& [number, step] : steps_)
      for (auto& [rank, record] : step.ranks)
        if (record.pid == failure.pid && failure.stage == stub::stage_exec) {
          record.start_failed = true;
          record.start_error = failure.error;
        }
}

void mpi_world::reap() {
  for (;;) {
    int status = 0;
    const auto pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0)
      return;
    for (auto& each : nodes_)
      if (each.pid == pid) {
        each.ended = true;
        each.status = status;
        tell_of_gone(static_cast<std::uint32_t>(&each - nodes_.data()));
      }
    for (auto& [number, step] : steps_)
      for (auto& [rank, record] : step.ranks)
        if (record.pid == pid)
          rank_ended(number, rank, record, status);
  }
}

/// As a job does where no other shepherd comes in its place.
void mpi_world::tell_of_gone(std::uint32_t index) {
  shepherd::to_shepherd frame;
  frame.peer_gone = {index, false};
  for (std::uint32_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i].pid != 0 && !nodes_[i].ended)
      send(i, frame);
}

void mpi_world::rank_ended(std::uint32_t number, std::uint32_t rank, rank_record& record,
                           int status) {
  record.ended = true;
  record.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
  record.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  shepherd::to_shepherd frame;
  frame.rank_ended = {number, rank, record.exit_code, static_cast<std::uint32_t>(record.signal),
                      false};
  send(record.node, frame);
  auto& step = steps_.at(number);
  const bool failed = record.exit_code != 0 || record.signal != 0;
  bool all = true;
  for (auto& [other, each] : step.ranks) {
    const bool aborts = !step.aborts.empty() && step.aborts.front().rank == other;
    if (!each.ended && failed && !aborts && ends_on_failure && !step.wish.notify_failures)
      ::kill(-each.pid, SIGKILL);
    all = all && each.ended;
  }
  if (!all)
    return;
  step.forgotten = true;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    shepherd::to_shepherd forget;
    forget.forget_step = {number};
    if (nodes_[i].pid != 0)
      send(i, forget);
  }
}

void mpi_world::agents_return() {
  agents_dead_ = false;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i].reader = {};
    shepherd::to_shepherd frame;
    frame.hello.emplace();
    send(i, frame);
  }
}

void mpi_world::kill_shepherd(std::uint32_t index) {
  ::kill(nodes_[index].pid, SIGKILL);
  (void)wait_for([&] { return nodes_[index].ended; });
}

bool mpi_world::end_shepherd(std::uint32_t index) {
  ::kill(nodes_[index].pid, SIGTERM);
  return wait_for([&] { return nodes_[index].ended; }, 5s);
}

void mpi_world::close_channel(std::uint32_t index) {
  nodes_[index].channel.reset();
  nodes_[index].channel_copy.reset();
}

void mpi_world::send_as_agent(std::uint32_t index, const std::string& bytes) {
  (void)!::send(nodes_[index].agent.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void mpi_world::send_on_channel(std::uint32_t index, const std::string& bytes) {
  (void)!::send(nodes_[index].channel.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void mpi_world::kill_rank(std::uint32_t number, std::uint32_t rank, int signal) {
  ::kill(steps_.at(number).ranks.at(rank).pid, signal);
}

bool mpi_world::stop(std::chrono::milliseconds deadline) {
  for (auto& each : nodes_)
    if (each.pid != 0 && !each.ended)
      ::kill(each.pid, SIGTERM);
  const bool in_time = wait_for(
      [&] {
        for (const auto& each : nodes_)
          if (each.pid != 0 && !each.ended)
            return false;
        return true;
      },
      deadline);
  bool well = true;
  for (const auto& each : nodes_)
    well = well && (each.pid == 0 || (WIFEXITED(each.status) && WEXITSTATUS(each.status) == 0));
  return in_time && well;
}

std::string mpi_world::output(std::uint32_t number, std::uint32_t rank) const {
  return read_file(steps_.at(number).ranks.at(rank).output_path);
}

std::string mpi_world::all_output(std::uint32_t number) const {
  std::string all;
  for (const auto& [rank, record] : steps_.at(number).ranks)
    all += output(number, rank);
  return all;
}

std::string mpi_world::shepherd_log(std::uint32_t index) const {
  return "shepherd " + std::to_string(index) + ": " +
         read_file(folder_ + "/shepherd-" + std::to_string(index));
}

std::vector<std::string> mpi_world::leftovers() const {
  std::vector<std::string> found;
  const auto own = std::to_string(job_) + ".";
  const auto shared = "/dev/shm/troupe-" + std::to_string(::geteuid());
  for (const auto& entry : fs::recursive_directory_iterator(folder_ + "/tmp"))
    found.push_back(entry.path().string());
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(shared, missing))
    if (entry.path().filename().string().starts_with(own))
      found.push_back(entry.path().string());
  return found;
}

} // namespace troupe::testing
