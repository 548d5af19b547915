// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/cbor.hpp"
#include "messages/ids.hpp"
#include "messages/types.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

// What a node's agent and the shepherd of one MPI job there say to each other, over an inherited
// SOCK_SEQPACKET pair (framing: messages/shepherd_packets.hpp). Holding an end is the credential;
// every verb is about that one job. The shepherd runs as the job's user: the agent believes it
// nothing beyond that job.
//
// Each frame is one `to_shepherd` or one `to_agent` with one member set. A frame may be lost when
// trouped dies: after a `hello` the shepherd says again everything that still matters, and every
// verb of the agent may be repeated.

namespace troupe::shepherd {

inline constexpr std::uint32_t protocol_version = 1;
inline constexpr std::size_t ranks_per_node_max = 4096;
inline constexpr std::size_t job_nodes_max = 4096;
inline constexpr std::size_t apps_max = 256;
inline constexpr std::size_t nspace_bytes_max = 255; ///< PMIX_MAX_NSLEN
inline constexpr std::size_t payload_bytes_max = 1u << 20;
inline constexpr std::size_t log_bytes_max = 1u << 16;

/// Which process manager interface the step's ranks speak. `rte`: none; they are daemons of another
/// runtime, which serve ranks of their own.
enum class mpi_kind : std::uint8_t { pmix, pmi1, rte };

const char* to_string(mpi_kind kind);
bool from_string(std::string_view text, mpi_kind& kind);

/// One process of the job: its namespace (one per step) and its rank there.
struct process_name {
  std::string nspace;
  std::uint32_t rank = 0;
  auto operator<=>(const process_name&) const = default;
  static constexpr auto fields() {
    return field_list(field<1>("nspace", &process_name::nspace, at_most(nspace_bytes_max)),
                      field<2>("rank", &process_name::rank));
  }
};

// --- agent to shepherd ---------------------------------------------------------------------------

/// First on every new agent; answered by everything the shepherd has not seen taken note of.
struct hello {
  std::uint32_t version = protocol_version;
  bool operator==(const hello&) const = default;
  static constexpr auto fields() { return field_list(field<1>("version", &hello::version)); }
};

/// One node of the job and the step's ranks on it. Every step of a job lists the same nodes in the
/// same order: a node's index is its address. `ranks` only where they are not rank_first + i.
struct step_node {
  std::string name;
  std::uint32_t rank_first = 0;
  std::uint32_t rank_count = 0;
  std::vector<std::uint32_t> ranks;
  bool operator==(const step_node&) const = default;
  static constexpr auto fields() {
    using s = step_node;
    return field_list(field<1>("name", &s::name, at_most(name_bytes_max)),
                      field<2>("rank_first", &s::rank_first),
                      field<3>("rank_count", &s::rank_count),
                      field<4>("ranks", &s::ranks, at_most(ranks_per_node_max)));
  }
};

/// One of a step's programs and its ranks; a step without any has one program.
struct step_app {
  std::uint32_t rank_first = 0;
  std::uint32_t rank_count = 0;
  std::vector<std::string> argv;
  /// Of a step with several programs, where they differ from what the step's order says.
  std::vector<std::string> env; ///< "K=V"
  std::string cwd;
  bool operator==(const step_app&) const = default;
  static constexpr auto fields() {
    using s = step_app;
    constexpr auto owner = visibility::owner;
    return field_list(field<1>("rank_first", &s::rank_first),
                      field<2>("rank_count", &s::rank_count),
                      field<3>("argv", &s::argv, at_most(arguments_max)),
                      field<4>("env", &s::env, owner, at_most(arguments_max)),
                      field<5>("cwd", &s::cwd, owner, at_most(path_bytes_max)));
  }
};

/// A step whose ranks start on this node, or that other ranks of the job may meet; sent to every
/// shepherd of the job before its ranks start. Answered by `registered`. May come again.
struct register_step {
  job_id job = 0;
  std::uint32_t element = no_element;
  std::uint32_t incarnation = 0;
  std::uint32_t step = 0;
  std::string nspace;
  std::uint32_t node_index = 0; ///< of this node in `nodes`
  std::vector<step_node> nodes;
  std::uint32_t ranks_total = 0;
  std::vector<std::string> cpusets; ///< per local rank, "0-3,8"; empty where it is not bound
  std::uint32_t cores_per_rank = 1;
  mpi_kind mpi = mpi_kind::pmix;
  std::optional<process_name> parent; ///< who spawned it
  std::vector<step_app> apps;
  std::string directory_base;   ///< "" is $TMPDIR, or /tmp
  bool notify_failures = false; ///< a rank that fails becomes an event (`--on-rank-failure notify`)
  std::uint32_t universe_size = 0; ///< cores of the allocation; 0: as many as ranks
  std::string cwd;
  bool shares_cores = false; ///< other ranks may run on the same cores: who waits is to yield
  /// Index of the node that keeps what this step and those of its spawn family publish: the same
  /// for all of them, also when the step that began it is over.
  std::uint32_t keeper = 0;
  bool operator==(const register_step&) const = default;
  static constexpr auto fields() {
    using s = register_step;
    constexpr auto owner = visibility::owner;
    return field_list(
        field<1>("job", &s::job), field<2>("element", &s::element),
        field<3>("incarnation", &s::incarnation), field<4>("step", &s::step),
        field<5>("nspace", &s::nspace, at_most(nspace_bytes_max)),
        field<6>("node_index", &s::node_index),
        field<7>("nodes", &s::nodes, at_most(job_nodes_max)),
        field<8>("ranks_total", &s::ranks_total, at_most(tasks_max)),
        field<9>("cpusets", &s::cpusets, at_most(ranks_per_node_max), each_at_most(4096)),
        field<10>("cores_per_rank", &s::cores_per_rank), field<11>("mpi", &s::mpi),
        field<12>("parent", &s::parent), field<13>("apps", &s::apps, at_most(apps_max)),
        field<14>("directory_base", &s::directory_base, owner, at_most(path_bytes_max)),
        field<15>("notify_failures", &s::notify_failures),
        field<16>("universe_size", &s::universe_size),
        field<17>("cwd", &s::cwd, owner, at_most(path_bytes_max)),
        field<18>("shares_cores", &s::shares_cores), field<19>("keeper", &s::keeper));
  }
};

/// A payload of the shepherd of another node, as it was given. `seq` 0 carries an `ack` alone.
/// `more`: the next payload continues this one.
struct relay {
  std::uint32_t node = 0; ///< to the agent: where it goes; to the shepherd: where it comes from
  std::uint64_t seq = 0;
  std::uint64_t ack = 0;
  bool more = false;
  std::vector<std::uint8_t> payload;
  std::uint64_t from_session = 0; ///< of the shepherd that says it: another one numbers anew
  std::uint64_t to_session = 0;   ///< of the one it is for, as far as it is known; 0: not yet
  bool operator==(const relay&) const = default;
  static constexpr auto fields() {
    using s = relay;
    return field_list(
        field<1>("node", &s::node), field<2>("seq", &s::seq), field<3>("ack", &s::ack),
        field<4>("more", &s::more),
        field<5>("payload", &s::payload, visibility::owner, at_most(payload_bytes_max)),
        field<6>("from_session", &s::from_session), field<7>("to_session", &s::to_session));
  }
};

/// The step asked for by `spawn_request` is registered on every node, or why there is none.
struct spawn_answer {
  std::uint64_t request = 0;
  std::string nspace;
  std::string error; ///< not empty: it was refused, or failed
  bool operator==(const spawn_answer&) const = default;
  static constexpr auto fields() {
    using s = spawn_answer;
    return field_list(field<1>("request", &s::request),
                      field<2>("nspace", &s::nspace, at_most(nspace_bytes_max)),
                      field<3>("error", &s::error, at_most(4096)));
  }
};

/// A rank ended. Said of this node's ranks; the shepherds tell each other. Of another node's ranks
/// only when that node is lost (`node_lost`).
struct rank_ended {
  std::uint32_t step = 0;
  std::uint32_t rank = 0;
  std::int32_t exit_code = 0;
  std::uint32_t signal = 0;
  bool node_lost = false;
  bool operator==(const rank_ended&) const = default;
  static constexpr auto fields() {
    using s = rank_ended;
    return field_list(field<1>("step", &s::step), field<2>("rank", &s::rank),
                      field<3>("exit_code", &s::exit_code), field<4>("signal", &s::signal),
                      field<5>("node_lost", &s::node_lost));
  }
};

/// The step is over on this node; answered by `forgotten`, the last word about it.
struct forget_step {
  std::uint32_t step = 0;
  bool operator==(const forget_step&) const = default;
  static constexpr auto fields() { return field_list(field<1>("step", &forget_step::step)); }
};

/// The shepherd of another node is gone, and what it kept with it: who asked it for something has
/// no answer to wait for. `replaced`: for later steps another one is there, or on its way.
struct peer_gone {
  std::uint32_t node = 0;
  bool replaced = false;
  bool operator==(const peer_gone&) const = default;
  static constexpr auto fields() {
    using s = peer_gone;
    return field_list(field<1>("node", &s::node), field<2>("replaced", &s::replaced));
  }
};

struct to_shepherd {
  std::optional<shepherd::hello> hello;
  std::optional<shepherd::register_step> register_step;
  std::optional<shepherd::relay> relay;
  std::optional<shepherd::spawn_answer> spawn_answer;
  std::optional<shepherd::rank_ended> rank_ended;
  std::optional<shepherd::forget_step> forget_step;
  std::optional<shepherd::peer_gone> peer_gone;
  bool operator==(const to_shepherd&) const = default;
  static constexpr auto fields() {
    using s = to_shepherd;
    return field_list(field<1>("hello", &s::hello, required),
                      field<2>("register_step", &s::register_step, required),
                      field<3>("relay", &s::relay, required),
                      field<4>("spawn_answer", &s::spawn_answer, required),
                      field<5>("rank_ended", &s::rank_ended, required),
                      field<6>("forget_step", &s::forget_step, required),
                      field<7>("peer_gone", &s::peer_gone, required));
  }
};

// --- shepherd to agent ---------------------------------------------------------------------------

/// A line for the log of trouped: what went wrong here, in words. It is believed by nobody.
struct said {
  std::string text;
  bool operator==(const said&) const = default;
  static constexpr auto fields() { return field_list(field<1>("text", &said::text)); }
};

/// The step's ranks may start here. Said again after a `hello`.
struct registered {
  std::uint32_t step = 0;
  bool operator==(const registered&) const = default;
  static constexpr auto fields() { return field_list(field<1>("step", &registered::step)); }
};

/// One program that a rank wants started in the job's allocation.
struct spawn_app {
  std::vector<std::string> argv; ///< argv[0] is the program
  std::vector<std::string> env;  ///< "K=V", on top of the spawning step's own
  std::string cwd;               ///< "" is the spawning step's
  std::uint32_t ranks = 1;
  std::map<std::string, std::string> options; ///< what MPI_Info said, by PMIx key
  bool operator==(const spawn_app&) const = default;
  static constexpr auto fields() {
    using s = spawn_app;
    constexpr auto owner = visibility::owner;
    return field_list(
        field<1>("argv", &s::argv, owner, at_most(arguments_max), each_at_most(string_bytes_max)),
        field<2>("env", &s::env, owner, at_most(arguments_max), each_at_most(string_bytes_max)),
        field<3>("cwd", &s::cwd, owner, at_most(path_bytes_max)),
        field<4>("ranks", &s::ranks, at_most(tasks_max)),
        field<5>("options", &s::options, owner, at_most(256), each_at_most(4096)));
  }
};

/// A rank asks for a further step of the job; answered by `spawn_answer`. Said again, with the same
/// request number, after a `hello`; numbers are this shepherd's.
struct spawn_request {
  std::uint64_t request = 0;
  process_name parent;
  std::vector<spawn_app> apps;
  std::map<std::string, std::string> options;
  mpi_kind mpi = mpi_kind::pmix;
  bool operator==(const spawn_request&) const = default;
  static constexpr auto fields() {
    using s = spawn_request;
    return field_list(
        field<1>("request", &s::request), field<2>("parent", &s::parent),
        field<3>("apps", &s::apps, at_most(apps_max)),
        field<4>("options", &s::options, visibility::owner, at_most(256), each_at_most(4096)),
        field<5>("mpi", &s::mpi));
  }
};

/// A rank asked for the end of its step everywhere. Said again after a `hello`.
struct abort {
  std::uint32_t step = 0;
  std::uint32_t rank = 0;
  std::int32_t status = 0; ///< the exit code it wants
  std::string message;
  bool operator==(const abort&) const = default;
  static constexpr auto fields() {
    using s = abort;
    return field_list(field<1>("step", &s::step), field<2>("rank", &s::rank),
                      field<3>("status", &s::status),
                      field<4>("message", &s::message, visibility::owner, at_most(4096)));
  }
};

/// How many of the step's ranks here have called PMIx_Init (or PMI's) and finalised since their
/// start; said when it changes, and again after a `hello`.
struct connected {
  std::uint32_t step = 0;
  std::uint32_t ranks = 0;
  std::uint32_t finalised = 0;
  bool operator==(const connected&) const = default;
  static constexpr auto fields() {
    using s = connected;
    return field_list(field<1>("step", &s::step), field<2>("ranks", &s::ranks),
                      field<3>("finalised", &s::finalised));
  }
};

enum class log_channel : std::uint8_t { standard_output, standard_error, job };

const char* to_string(log_channel channel);
bool from_string(std::string_view text, log_channel& channel);

/// PMIx_Log: a rank's words for the job's log.
struct log {
  process_name from;
  log_channel channel = log_channel::job;
  std::string text;
  bool operator==(const log&) const = default;
  static constexpr auto fields() {
    using s = log;
    return field_list(field<1>("from", &s::from), field<2>("channel", &s::channel),
                      field<3>("text", &s::text, visibility::owner, at_most(log_bytes_max)));
  }
};

/// PMIx_Job_control: a rank wants a signal sent to ranks of its job. No targets: all of `step`.
struct signal_request {
  std::uint32_t step = 0;
  std::uint32_t signal = 0;
  std::vector<std::uint32_t> ranks;
  bool operator==(const signal_request&) const = default;
  static constexpr auto fields() {
    using s = signal_request;
    return field_list(field<1>("step", &s::step), field<2>("signal", &s::signal),
                      field<3>("ranks", &s::ranks, at_most(tasks_max)));
  }
};

/// All there is to say about a step that was to be forgotten has been said.
struct forgotten {
  std::uint32_t step = 0;
  bool operator==(const forgotten&) const = default;
  static constexpr auto fields() { return field_list(field<1>("step", &forgotten::step)); }
};

/// The shepherd cannot go on and ends: the job's ranks here are alone.
struct failed {
  std::string why;
  bool operator==(const failed&) const = default;
  static constexpr auto fields() {
    return field_list(field<1>("why", &failed::why, at_most(4096)));
  }
};

struct to_agent {
  std::optional<shepherd::registered> registered;
  std::optional<shepherd::relay> relay;
  std::optional<shepherd::spawn_request> spawn_request;
  std::optional<shepherd::abort> abort;
  std::optional<shepherd::connected> connected;
  std::optional<shepherd::log> log;
  std::optional<shepherd::failed> failed;
  std::optional<shepherd::signal_request> signal_request;
  std::optional<shepherd::forgotten> forgotten;
  std::optional<shepherd::said> said;
  bool operator==(const to_agent&) const = default;
  static constexpr auto fields() {
    using s = to_agent;
    return field_list(
        field<1>("registered", &s::registered, required), field<2>("relay", &s::relay, required),
        field<3>("spawn_request", &s::spawn_request, required),
        field<4>("abort", &s::abort, required), field<5>("connected", &s::connected, required),
        field<6>("log", &s::log, required), field<7>("failed", &s::failed, required),
        field<8>("signal_request", &s::signal_request, required),
        field<9>("forgotten", &s::forgotten, required), field<10>("said", &s::said));
  }
};

} // namespace troupe::shepherd
