// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/say.hpp"
#include "tools/shepherd/shepherd.hpp"

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

void shepherd::take_stub(const stub::hello& from, unique_fd socket) {
  auto* step = steps_.find(from.step);
  if (step != nullptr && step->ready)
    return start_rank(*step, from.local_rank, move_high(std::move(socket)));
  if (parked_.size() >= parked_max)
    return say("more than %zu ranks wait for a step: one is refused", parked_max);
  parked_.push_back({from, move_high(std::move(socket)), steady::now() + stub_patience});
}

void shepherd::answer_parked(step_state& step) {
  std::vector<parked_stub> rest;
  for (auto& stub : std::exchange(parked_, {})) {
    if (stub.who.step == step.about.step)
      start_rank(step, stub.who.local_rank, std::move(stub.socket));
    else
      rest.push_back(std::move(stub));
  }
  for (auto& stub : rest)
    parked_.push_back(std::move(stub));
}

void shepherd::start_rank(step_state& step, std::uint32_t local, unique_fd socket) {
  if (local >= step.ranks.size())
    return say("step %u has no local rank %u here", step.about.step, local);
  auto& rank = step.ranks[local];
  if (std::exchange(rank.told, true))
    return say("local rank %u of step %u asks twice: refused", local, step.about.step);
  rank.pid = pid_of(socket.get());
  auto env = base_environment(step, local);
  const auto number = step.rank_of(local);
  if (step.about.mpi == mpi_kind::pmi1) {
    for (auto& each : pmi1_environment(step, local))
      env.push_back(std::move(each));
  } else {
    (void)directory_->add(std::to_string(step.about.step) + "/" + std::to_string(local));
    auto own = server_->environment_of(step.name_of(number));
    if (!own)
      return say("%s", own.error().text.c_str());
    for (auto& each : *own)
      env.push_back(std::move(each));
  }
  watch_rank(step, rank, number);
  if (!answer_stub(socket.get(), env))
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
  poll_.add(rank.alive.get(), [this, of = step.about.step, number](std::uint32_t) {
    auto* ended = steps_.find(of);
    auto* gone = ended == nullptr ? nullptr : ended->find(number);
    if (gone == nullptr || !gone->alive)
      return;
    poll_.remove(gone->alive.get());
    gone->alive.reset();
    take_end({of, number, gone->finalised ? 0 : 1, 0, false});
  });
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
