// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/say.hpp"
#include "tools/shepherd/shepherd.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Stubs, and the ranks that they become.

namespace troupe::shepherd {

using namespace std::chrono_literals;

namespace {

constexpr auto stub_patience = 40s; // a stub itself gives up before
constexpr std::size_t parked_max = 2 * ranks_per_node_max;

/// The library's listener waits with select(): low numbers are for it.
constexpr int high_descriptor = 1024 + 64;

unique_fd move_high(unique_fd fd) {
  unique_fd high{::fcntl(fd.get(), F_DUPFD_CLOEXEC, high_descriptor)};
  return high ? std::move(high) : std::move(fd);
}

std::int32_t pid_of(int socket) {
  ucred who{};
  socklen_t bytes = sizeof who;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &bytes) == 0 ? who.pid : 0;
}

} // namespace

void shepherd::take_stub(waiting_stub from) {
  for (auto* each : {&from.socket, &from.output, &from.error_output})
    *each = move_high(std::move(*each));
  auto* step = steps_.find(from.who.step);
  if (step != nullptr && step->ready)
    return start_rank(*step, std::move(from));
  if (parked_.size() >= parked_max)
    return say("more than %zu ranks wait for a step: one is refused", parked_max);
  parked_.push_back({std::move(from), steady::now() + stub_patience});
}

void shepherd::answer_parked(step_state& step) {
  std::vector<parked_stub> rest;
  for (auto& each : std::exchange(parked_, {})) {
    if (each.stub.who.step == step.about.step)
      start_rank(step, std::move(each.stub));
    else
      rest.push_back(std::move(each));
  }
  for (auto& each : rest)
    parked_.push_back(std::move(each));
}

void shepherd::start_rank(step_state& step, waiting_stub from) {
  const auto local = from.who.local_rank;
  auto& socket = from.socket;
  if (local >= step.ranks.size())
    return say("step %u has no local rank %u here", step.about.step, local);
  auto& rank = step.ranks[local];
  if (std::exchange(rank.told, true))
    return say("local rank %u of step %u asks twice: refused", local, step.about.step);
  rank.output = std::make_unique<rank_output>(poll_, std::move(from.output));
  rank.error_output = std::make_unique<rank_output>(poll_, std::move(from.error_output));
  rank.pid = pid_of(socket.get());
  const auto is_daemon = step.about.mpi == mpi_kind::rte;
  stub_answer told{
      {}, is_daemon ? rte_environment(step) : base_environment(step, local), is_daemon};
  auto& env = told.variables;
  const auto number = step.rank_of(local);
  if (step.about.mpi == mpi_kind::pmi1) {
    for (auto& each : pmi1_environment(step, local))
      env.push_back(std::move(each));
  } else if (!is_daemon) {
    const auto name = std::to_string(step.about.step) + "/" + std::to_string(local);
    if (auto made = directory_->add(name); !made)
      return say("%s", made.error().text.c_str()); // its stub is not answered, and says so
    auto own = server_->environment_of(step.name_of(number));
    if (!own)
      return say("%s", own.error().text.c_str());
    for (auto& each : *own)
      env.push_back(std::move(each));
  }
  watch_rank(step, rank, number);
  if (const auto* app = step.app_of(number)) {
    told.command.push_back(app->cwd);
    told.command.insert(told.command.end(), app->argv.begin(), app->argv.end());
    env.insert(env.end(), app->env.begin(), app->env.end());
  }
  if (!answer_stub(socket.get(), told))
    return say("rank %u of step %u is gone before it started", number, step.about.step);
  if (step.about.mpi == mpi_kind::pmi1)
    pmi1_.add(step.about.step, number, std::move(socket));
}

/// Where its failure is to be told to the others, its end is noticed here: PMIx tells only of ranks
/// that have called PMIx_Init. How it ended, only the launcher knows.
void shepherd::watch_rank(const step_state& step, local_rank& rank, std::uint32_t number) {
  if (!step.about.notify_failures || rank.pid <= 0)
    return;
  rank.alive.reset(static_cast<int>(::syscall(SYS_pidfd_open, rank.pid, 0)));
  if (!rank.alive)
    return;
  const bool watched =
      poll_.add(rank.alive.get(), [this, of = step.about.step, number](std::uint32_t) {
        auto* ended = steps_.find(of);
        auto* gone = ended == nullptr ? nullptr : ended->find(number);
        if (gone == nullptr || !gone->alive)
          return;
        poll_.remove(gone->alive.get());
        gone->alive.reset();
        take_end({of, number, gone->finalised ? 0 : 1, 0, false});
      });
  if (watched)
    return;
  rank.alive.reset();
  say("the end of rank %u of step %u may not be told to the others: %s", number, step.about.step,
      std::strerror(errno));
}

void shepherd::drop_old_stubs(steady::time_point now) {
  std::erase_if(parked_, [&](const parked_stub& each) { return now >= each.until; });
}

void shepherd::note_rank(const process_name& who, bool local_rank::*mark) {
  auto* step = steps_.find(who.nspace);
  auto* rank = step == nullptr ? nullptr : step->find(who.rank);
  if (rank == nullptr || std::exchange(rank->*mark, true))
    return;
  changed_counts_.insert(step->about.step);
}

/// Once per turn of the loop: ranks that come together are said together.
void shepherd::say_counts() {
  for (const auto number : std::exchange(changed_counts_, {})) {
    const auto* step = steps_.find(number);
    if (step == nullptr)
      continue;
    connected counts{number, 0, 0};
    for (const auto& rank : step->ranks) {
      counts.ranks += rank.connected ? 1 : 0;
      counts.finalised += rank.finalised ? 1 : 0;
    }
    to_agent frame;
    frame.connected = counts;
    agent_.send(frame);
  }
}

} // namespace troupe::shepherd
