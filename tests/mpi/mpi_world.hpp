// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "messages/shepherd.hpp"
#include "messages/shepherd_packets.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

// Real shepherds, stubs and MPI programs on several virtual nodes of this machine, with a test in
// the place of their launcher and their agents: it starts the processes as troupe-launcher does,
// holds the sockets as agents do, carries relays between the nodes, and answers spawns.

namespace troupe::testing {

using namespace std::chrono_literals;

/// What is asked of one step.
struct step_wish {
  std::vector<std::string> argv;
  std::vector<std::uint32_t> ranks_per_node;
  shepherd::mpi_kind mpi = shepherd::mpi_kind::pmix;
  std::vector<std::string> env; ///< "K=V" on top of the world's
  bool notify_failures = false;
  std::vector<std::string> cpusets; ///< per local rank, on every node
  bool by_node = false;             ///< ranks dealt out to the nodes one by one
};

struct rank_record {
  pid_t pid = 0;
  std::uint32_t node = 0;
  std::uint32_t local = 0;
  bool ended = false;
  int exit_code = 0;
  int signal = 0;
  bool start_failed = false;
  int start_error = 0;
  std::string output_path;
};

struct step_record {
  step_wish wish;
  shepherd::register_step about; ///< without what differs between nodes
  std::map<std::uint32_t, rank_record> ranks;
  std::map<std::uint32_t, bool> registered;            ///< by node
  std::map<std::uint32_t, shepherd::connected> counts; ///< by node
  std::vector<shepherd::abort> aborts;
  /// Of a spawn: which shepherd asked, and its number for it.
  struct asker {
    std::uint32_t node = 0;
    std::uint64_t request = 0;
    bool operator==(const asker&) const = default;
  };
  std::optional<asker> asked_by;
  bool started = false;
  bool forgotten = false;               ///< the shepherds have been told to
  std::set<std::uint32_t> forgotten_on; ///< nodes whose shepherd has
};

class mpi_world {
public:
  explicit mpi_world(std::uint32_t nodes);
  mpi_world(const mpi_world&) = delete;
  mpi_world& operator=(const mpi_world&) = delete;
  ~mpi_world();

  /// Registers the step and starts its ranks; answers its number.
  std::uint32_t start(step_wish wish);
  /// Starts, and waits for the end of all ranks, spawned ones included.
  step_record& run(step_wish wish, std::chrono::milliseconds deadline = 60s);
  bool wait_for(const std::function<bool()>& done, std::chrono::milliseconds deadline = 60s);
  bool all_ended() const;

  step_record& step(std::uint32_t number) { return steps_.at(number); }
  std::string output(std::uint32_t step, std::uint32_t rank) const;
  std::string all_output(std::uint32_t step) const;
  std::string shepherd_log(std::uint32_t node) const;
  pid_t shepherd_pid(std::uint32_t node) const { return nodes_.at(node).pid; }
  const std::string& folder() const { return folder_; }
  std::string session_name(std::uint32_t node) const;

  /// Says goodbye to all shepherds: SIGTERM; true when each ends with 0 in time. Relays between
  /// them are still carried meanwhile.
  bool stop(std::chrono::milliseconds deadline = 2s);
  void kill_shepherd(std::uint32_t node);
  /// As when the last rank of its node has ended.
  bool end_shepherd(std::uint32_t node);
  /// As when a launcher learns that the shepherd is gone: nobody holds the channel any more.
  void close_channel(std::uint32_t node);
  void send_as_agent(std::uint32_t node, const std::string& bytes);
  void send_on_channel(std::uint32_t node, const std::string& bytes);
  void kill_rank(std::uint32_t step, std::uint32_t rank, int signal = 9);

  /// As when trouped is killed: what is read from the shepherds is lost, until `agents_return`.
  void agents_die() { agents_dead_ = true; }
  void agents_return();

  /// Files and directories that the job's processes left behind.
  std::vector<std::string> leftovers() const;

  std::vector<shepherd::log> logs;
  std::vector<shepherd::signal_request> signals;
  std::vector<std::string> failures; ///< what shepherds that gave up said
  std::size_t relays = 0;
  std::size_t relays_lost = 0;
  /// Ranks end where one fails, as the default policy says.
  bool ends_on_failure = true;
  /// Spawns are refused with this, where it is not empty.
  std::string refuse_spawns;

private:
  struct host {
    pid_t pid = 0;
    bool ended = false;
    int status = 0;
    unique_fd agent;        ///< the agent's end
    unique_fd channel;      ///< sending end of the stub channel
    unique_fd channel_copy; ///< receiving end, as a launcher holds it
    shepherd::packet_reader reader;
    bool said_hello = false;
  };

  void start_shepherd(std::uint32_t index);
  void start_ranks(std::uint32_t number);
  void start_rank(step_record& step, std::uint32_t rank, rank_record& record);
  void register_on_all(std::uint32_t number);
  void pump(int timeout_ms);
  void read_agent(std::uint32_t index);
  void take(std::uint32_t index, shepherd::to_agent frame);
  void take_spawn(std::uint32_t index, const shepherd::spawn_request& from);
  void send(std::uint32_t index, const shepherd::to_shepherd& frame);
  void reap();
  void tell_of_gone(std::uint32_t index);
  void rank_ended(std::uint32_t number, std::uint32_t rank, rank_record& record, int status);
  void read_start_errors();
  std::uint32_t add_step(step_wish wish);

  std::string folder_;
  std::uint64_t job_;
  std::vector<host> nodes_;
  std::map<std::uint32_t, step_record> steps_;
  std::uint32_t next_step_ = 0;
  unique_fd errors_read_;
  unique_fd errors_write_;
  bool agents_dead_ = false;
};

/// Where a program of tests/mpi/programs is.
std::string mpi_program(const std::string& name);

} // namespace troupe::testing
