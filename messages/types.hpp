// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/ids.hpp"

#include "base/bytes.hpp"
#include "base/clock.hpp"

#include <optional>
#include <string>
#include <vector>

// The values that messages carry. Every struct lists its fields once: name, permanent number,
// visibility, bound. CBOR (ledger, links), JSON (Varlink, --json) and every view come from that
// list.

namespace troupe {

// -- bounds -------------------------------------------------------------------

inline constexpr std::size_t name_bytes_max = 255;
inline constexpr std::size_t path_bytes_max = 4095;
inline constexpr std::size_t arguments_max = 4096;
inline constexpr std::size_t string_bytes_max = 128 * 1024;
inline constexpr std::size_t script_bytes_max = 1024 * 1024;
inline constexpr std::size_t submissions_per_call_max = 1024;
inline constexpr std::size_t input_bytes_max = 256 * 1024; ///< per call
inline constexpr std::uint32_t nodes_max = 65'536;
inline constexpr std::uint32_t tasks_max = 1'048'576;
inline constexpr std::uint32_t gpus_per_node_max = 64;
inline constexpr std::size_t features_max = 64;
inline constexpr std::size_t dependencies_max = 1024;
/// Nice values reach from -nice_max to nice_max; below zero is for operators.
inline constexpr std::int32_t nice_max = 10'000;

// -- jobs ---------------------------------------------------------------------

enum class bind_mode : std::uint8_t { none, core, socket };

const char* to_string(bind_mode mode);
bool from_string(std::string_view text, bind_mode& mode);

/// How ranks are laid out on their nodes. `slot`: node after node, each with all cores of its task;
/// `core`: the same, each on one core, in the order of the node's cores; `node`: dealt out to the
/// nodes in turn.
enum class map_mode : std::uint8_t { slot, core, node };

const char* to_string(map_mode mode);
bool from_string(std::string_view text, map_mode& mode);

/// How the ranks of a job find each other: not at all, by PMIx (Open MPI), or by PMI-1 (MPICH).
/// `rte`: the program is another runtime's daemon that starts ranks itself, and needs directories.
enum class mpi_mode : std::uint8_t { none, pmix, pmi1, rte };

const char* to_string(mpi_mode mode);
bool from_string(std::string_view text, mpi_mode& mode);

/// What must have become of another job before this one may start.
enum class dependency_kind : std::uint8_t {
  after,      ///< it has started, or has ended without
  afterany,   ///< it has ended
  afterok,    ///< it has completed
  afternotok, ///< it has ended otherwise
};

const char* to_string(dependency_kind kind);
bool from_string(std::string_view text, dependency_kind& kind);

struct job_dependency {
  static constexpr std::string_view type_name = "JobDependency";
  dependency_kind kind = dependency_kind::after;
  job_id job = 0;

  bool operator==(const job_dependency&) const = default;
  static constexpr auto fields() {
    using s = job_dependency;
    return field_list(field<1>("kind", &s::kind), field<2>("job", &s::job));
  }
};

struct terminal_size {
  static constexpr std::string_view type_name = "TerminalSize";
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;

  bool operator==(const terminal_size&) const = default;
  static constexpr auto fields() {
    using s = terminal_size;
    return field_list(field<1>("rows", &s::rows), field<2>("columns", &s::columns));
  }
};

/// What was asked for: one job, or one array of equal elements.
struct job_spec {
  static constexpr std::string_view type_name = "JobSpec";
  std::string name;
  std::string account;
  std::string queue;
  std::vector<std::string> argv;
  std::vector<std::string> env; ///< "K=V", sorted by key, no key twice
  std::string cwd;
  std::string stdin_path;  ///< "" is /dev/null, "|" a stream to the first task, else a pattern
  std::string stdout_path; ///< "" is /dev/null, "|" a stream, else a pattern (%j %a %t %N %%)
  std::string stderr_path; ///< as stdout_path; merged into it when `merge_stderr`
  std::string script;      ///< the script's bytes; argv then holds its arguments after argv[0]
  bool merge_stderr = false;
  std::uint32_t nodes = 0; ///< 0: as many as are needed
  std::uint32_t tasks = 1;
  std::uint32_t cores_per_task = 1;
  std::uint64_t memory_bytes = 0; ///< per node; 0 is no request
  std::uint32_t time_limit_s = 0; ///< 0 is none
  std::uint32_t grace_s = 10;     ///< between SIGTERM and SIGKILL
  std::optional<array_spec> array;
  bool held = false;
  bool exclusive = false;
  bool requeue = false;  ///< run again when a node or its launcher is lost
  bool attached = false; ///< ends when its client is gone for a minute
  bind_mode bind = bind_mode::core;
  std::vector<std::string> nodes_required;
  std::vector<std::string> nodes_excluded;
  utc_ns begin_utc_ns = 0; ///< not before; 0 is now
  mpi_mode mpi = mpi_mode::none;
  bool batch = false;  ///< runs once, on the first node of the allocation; its steps use all
  bool append = false; ///< adds to output files instead of emptying them first
  bool notify_failures = false; ///< a rank that fails becomes an event for the others, no end
  bool overlap = false;         ///< of a step: shares the cores of other steps, and waits for none
  job_id step_of = 0;           ///< not 0: this is a step of that job, in its allocation
  std::uint32_t step_of_element = no_element;
  std::uint32_t gpus_per_task = 0;
  std::vector<std::string> features;        ///< each node of the job has all of them
  std::int32_t nice = 0;                    ///< taken from the priority: higher waits longer
  std::string reservation;                  ///< start in this reservation's nodes and time only
  std::vector<job_dependency> dependencies; ///< all must hold before it starts
  map_mode map_by = map_mode::slot;
  std::optional<terminal_size> terminal; ///< the first task has one; its streams go with it

  bool operator==(const job_spec&) const = default;
  static constexpr auto fields() {
    using s = job_spec;
    constexpr auto owner = visibility::owner;
    return field_list(
        field<1>("name", &s::name, at_most(name_bytes_max)),
        field<2>("account", &s::account, at_most(name_bytes_max)),
        field<3>("queue", &s::queue, at_most(name_bytes_max)),
        field<4>("argv", &s::argv, owner, at_most(arguments_max)),
        field<5>("env", &s::env, owner, at_most(arguments_max)),
        field<6>("cwd", &s::cwd, owner, at_most(path_bytes_max)),
        field<7>("stdin_path", &s::stdin_path, owner, at_most(path_bytes_max)),
        field<8>("stdout_path", &s::stdout_path, owner, at_most(path_bytes_max)),
        field<9>("stderr_path", &s::stderr_path, owner, at_most(path_bytes_max)),
        field<10>("script", &s::script, owner, at_most(script_bytes_max)),
        field<11>("merge_stderr", &s::merge_stderr), field<12>("nodes", &s::nodes),
        field<13>("tasks", &s::tasks), field<14>("cores_per_task", &s::cores_per_task),
        field<15>("memory_bytes", &s::memory_bytes), field<16>("time_limit_s", &s::time_limit_s),
        field<17>("grace_s", &s::grace_s), field<18>("array", &s::array),
        field<19>("held", &s::held), field<20>("exclusive", &s::exclusive),
        field<21>("requeue", &s::requeue), field<22>("attached", &s::attached),
        field<23>("bind", &s::bind), field<24>("nodes_required", &s::nodes_required, at_most(1024)),
        field<25>("nodes_excluded", &s::nodes_excluded, at_most(1024)),
        field<26>("begin_utc_ns", &s::begin_utc_ns), field<27>("mpi", &s::mpi),
        field<28>("gpus_per_task", &s::gpus_per_task),
        field<29>("features", &s::features, at_most(features_max), each_at_most(name_bytes_max)),
        field<30>("nice", &s::nice),
        field<31>("reservation", &s::reservation, at_most(name_bytes_max)),
        field<32>("dependencies", &s::dependencies, at_most(dependencies_max)),
        field<40>("batch", &s::batch), field<44>("append", &s::append),
        field<45>("notify_failures", &s::notify_failures), field<41>("overlap", &s::overlap),
        field<42>("step_of", &s::step_of), field<43>("step_of_element", &s::step_of_element),
        field<46>("map_by", &s::map_by), field<47>("terminal", &s::terminal));
  }
};

/// The states of a job or an element. `auth` and `plan` know nothing of them.
enum class job_state : std::uint8_t {
  pending,
  starting,
  running,
  completing,
  completed,
  failed,
  cancelled,
  timed_out,
  lost,
};

const char* to_string(job_state state);
bool from_string(std::string_view text, job_state& state);
bool is_final(job_state state);

/// How an element or a job ended.
struct exit_report {
  static constexpr std::string_view type_name = "ExitReport";
  job_state state = job_state::completed;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0; ///< 0: it exited by itself
  std::string reason;      ///< a sentence where there is more to say

  bool operator==(const exit_report&) const = default;
  static constexpr auto fields() {
    using s = exit_report;
    return field_list(field<1>("state", &s::state), field<2>("exit_code", &s::exit_code),
                      field<3>("signal", &s::signal), field<4>("reason", &s::reason));
  }
};

/// One row of `troupe queue` and `troupe history`.
struct job_row {
  static constexpr std::string_view type_name = "JobRow";
  job_id job = 0;
  std::string name;
  std::string user;
  std::string queue;
  job_state state = job_state::pending;
  bool held = false;
  std::uint32_t nodes = 0;
  std::uint32_t tasks = 1;
  std::uint32_t cores_per_task = 1;
  std::uint64_t memory_bytes = 0;
  std::uint32_t time_limit_s = 0;
  utc_ns submitted_utc_ns = 0;
  utc_ns started_utc_ns = 0;
  utc_ns ended_utc_ns = 0;
  std::uint32_t elements_total = 0; ///< 0: no array
  std::uint32_t elements_pending = 0;
  std::uint32_t elements_running = 0;
  std::uint32_t elements_failed = 0;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  std::string nodelist;
  std::string reason; ///< why it ended so; while it waits, what it waits for
  std::string account;
  std::uint32_t gpus_per_task = 0;
  std::int32_t nice = 0;
  utc_ns expected_start_utc_ns = 0; ///< while it waits; 0: unknown

  static constexpr auto fields() {
    using s = job_row;
    return field_list(
        field<1>("job", &s::job), field<2>("name", &s::name), field<3>("user", &s::user),
        field<4>("queue", &s::queue), field<5>("state", &s::state), field<6>("held", &s::held),
        field<7>("nodes", &s::nodes), field<8>("tasks", &s::tasks),
        field<9>("cores_per_task", &s::cores_per_task), field<10>("memory_bytes", &s::memory_bytes),
        field<11>("time_limit_s", &s::time_limit_s),
        field<12>("submitted_utc_ns", &s::submitted_utc_ns),
        field<13>("started_utc_ns", &s::started_utc_ns),
        field<14>("ended_utc_ns", &s::ended_utc_ns),
        field<15>("elements_total", &s::elements_total),
        field<16>("elements_pending", &s::elements_pending),
        field<17>("elements_running", &s::elements_running),
        field<18>("elements_failed", &s::elements_failed), field<19>("exit_code", &s::exit_code),
        field<20>("signal", &s::signal), field<21>("nodelist", &s::nodelist),
        field<22>("reason", &s::reason), field<23>("account", &s::account),
        field<24>("gpus_per_task", &s::gpus_per_task), field<25>("nice", &s::nice),
        field<26>("expected_start_utc_ns", &s::expected_start_utc_ns));
  }
};

/// Where a part of an element runs.
struct placement_part {
  std::uint32_t node = 0;
  std::uint32_t rank_first = 0;
  std::uint32_t ranks = 1;
  std::vector<std::uint32_t> cores; ///< the node's core numbers, rank-major
  std::uint64_t memory_bytes = 0;
  std::vector<std::uint32_t> gpus;         ///< the node's GPU numbers, rank-major
  std::vector<std::uint32_t> rank_numbers; ///< ascending; only where they are not rank_first + i

  std::uint32_t rank_of(std::uint32_t local) const {
    return local < rank_numbers.size() ? rank_numbers[local] : rank_first + local;
  }
  bool operator==(const placement_part&) const = default;
  static constexpr auto fields() {
    using s = placement_part;
    return field_list(field<1>("node", &s::node), field<2>("rank_first", &s::rank_first),
                      field<3>("ranks", &s::ranks), field<4>("cores", &s::cores, at_most(65'536)),
                      field<5>("memory_bytes", &s::memory_bytes),
                      field<6>("gpus", &s::gpus, at_most(65'536)),
                      field<7>("rank_numbers", &s::rank_numbers, at_most(65'536)));
  }
};

/// One element as `show` tells it.
struct element_view {
  static constexpr std::string_view type_name = "ElementView";
  std::uint32_t element = no_element;
  std::uint32_t incarnation = 0;
  job_state state = job_state::pending;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  utc_ns started_utc_ns = 0;
  utc_ns ended_utc_ns = 0;
  std::string nodelist;
  std::string cpus; ///< "node1:0-3", as bound
  std::string reason;
  std::string gpus;                      ///< "node1:0,1", as bound
  std::vector<std::uint32_t> node_tasks; ///< of each node of the list, while it is placed

  static constexpr auto fields() {
    using s = element_view;
    return field_list(
        field<1>("element", &s::element), field<2>("incarnation", &s::incarnation),
        field<3>("state", &s::state), field<4>("exit_code", &s::exit_code),
        field<5>("signal", &s::signal), field<6>("started_utc_ns", &s::started_utc_ns),
        field<7>("ended_utc_ns", &s::ended_utc_ns), field<8>("nodelist", &s::nodelist),
        field<9>("cpus", &s::cpus), field<10>("reason", &s::reason), field<11>("gpus", &s::gpus),
        field<12>("node_tasks", &s::node_tasks, at_most(nodes_max)));
  }
};

/// One step as `show` tells it.
struct step_view {
  static constexpr std::string_view type_name = "StepView";
  std::uint32_t step = 0;
  std::uint32_t element = no_element;
  std::uint32_t incarnation = 0;
  std::string name;
  std::uint32_t tasks = 1;
  job_state state = job_state::starting;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  utc_ns started_utc_ns = 0;
  utc_ns ended_utc_ns = 0;
  std::string nodelist;
  std::string cpus; ///< "node1:0-3", as bound
  std::string reason;
  std::string cwd; ///< where its output's patterns begin; these as in its spec
  std::string stdout_path;
  std::string stderr_path;
  bool merge_stderr = false;

  /// What its spec says.
  void take(const job_spec& spec) {
    name = spec.name;
    tasks = spec.tasks;
    cwd = spec.cwd;
    stdout_path = spec.stdout_path;
    stderr_path = spec.stderr_path;
    merge_stderr = spec.merge_stderr;
  }

  static constexpr auto fields() {
    using s = step_view;
    constexpr auto owner = visibility::owner;
    return field_list(
        field<1>("step", &s::step), field<2>("element", &s::element),
        field<3>("incarnation", &s::incarnation), field<4>("name", &s::name),
        field<5>("tasks", &s::tasks), field<6>("state", &s::state),
        field<7>("exit_code", &s::exit_code), field<8>("signal", &s::signal),
        field<9>("started_utc_ns", &s::started_utc_ns), field<10>("ended_utc_ns", &s::ended_utc_ns),
        field<11>("nodelist", &s::nodelist), field<12>("cpus", &s::cpus),
        field<13>("reason", &s::reason), field<14>("cwd", &s::cwd, owner, at_most(path_bytes_max)),
        field<15>("stdout_path", &s::stdout_path, owner, at_most(path_bytes_max)),
        field<16>("stderr_path", &s::stderr_path, owner, at_most(path_bytes_max)),
        field<17>("merge_stderr", &s::merge_stderr, owner));
  }
};

/// All that `show` tells of a job: its row, its spec (the owner's fields for the owner), its
/// elements.
struct job_view {
  static constexpr std::string_view type_name = "JobView";
  using answer_tag = void;
  job_row row;
  job_spec spec;
  std::vector<element_view> elements; ///< running ones first; at most `elements_shown_max`
  static constexpr std::size_t elements_shown_max = 1000;
  std::vector<step_view> steps; ///< beyond step 0, by number; the last `steps_shown_max`
  static constexpr std::size_t steps_shown_max = 1000;

  static constexpr auto fields() {
    using s = job_view;
    return field_list(field<1>("row", &s::row), field<2>("spec", &s::spec),
                      field<3>("elements", &s::elements), field<4>("steps", &s::steps));
  }
};

/// Which jobs a request is about: ids, or a filter. All given conditions must hold.
struct job_selector {
  static constexpr std::string_view type_name = "JobSelector";
  struct target {
    job_id first = 0;
    job_id last = 0;
    std::optional<number_range> elements; ///< of the array `first`
    static constexpr auto fields() {
      return field_list(field<1>("first", &target::first), field<2>("last", &target::last),
                        field<3>("elements", &target::elements));
    }
  };
  std::vector<target> targets;
  bool all = false; ///< every job the caller may touch
  std::string user;
  std::string name;
  std::string queue;
  std::vector<job_state> states;

  static constexpr auto fields() {
    using s = job_selector;
    return field_list(field<1>("targets", &s::targets, at_most(1024)), field<2>("all", &s::all),
                      field<3>("user", &s::user, at_most(name_bytes_max)),
                      field<4>("name", &s::name, at_most(name_bytes_max)),
                      field<5>("queue", &s::queue, at_most(name_bytes_max)),
                      field<6>("states", &s::states, at_most(16)));
  }
};

/// Why a job waits and when it may start.
struct why_view {
  static constexpr std::string_view type_name = "WhyView";
  using answer_tag = void;
  job_id job = 0;
  job_state state = job_state::pending;
  std::string sentence;
  std::uint32_t position = 0;       ///< in the queue, from 1; 0: not waiting
  utc_ns expected_start_utc_ns = 0; ///< 0: unknown
  std::vector<std::string> reasons;

  static constexpr auto fields() {
    using s = why_view;
    return field_list(field<1>("job", &s::job), field<2>("state", &s::state),
                      field<3>("sentence", &s::sentence), field<4>("position", &s::position),
                      field<5>("expected_start_utc_ns", &s::expected_start_utc_ns),
                      field<6>("reasons", &s::reasons));
  }
};

// -- nodes --------------------------------------------------------------------

/// `leaving`: an earlier shape of the cluster had it, and something runs there still.
enum class node_state : std::uint8_t { up, draining, drained, down, leaving };

const char* to_string(node_state state);
bool from_string(std::string_view text, node_state& state);

/// A core of a node as the controller sees it.
struct core_info {
  std::vector<std::uint32_t> processing_units; ///< the machine's numbers
  std::uint32_t group = 0;                     ///< cores that share a cache or socket
  std::uint32_t socket = 0;

  bool operator==(const core_info&) const = default;
  static constexpr auto fields() {
    using s = core_info;
    return field_list(field<1>("processing_units", &s::processing_units, at_most(64)),
                      field<2>("group", &s::group), field<3>("socket", &s::socket));
  }
};

/// What a node offers.
struct node_inventory {
  std::uint32_t node = 0;
  std::string name;
  std::vector<core_info> cores;
  std::uint64_t memory_bytes = 0;
  bool oversubscribed = false;
  std::vector<std::uint32_t> gpus; ///< the machine's numbers of its GPUs
  std::vector<std::string> features;

  static constexpr auto fields() {
    using s = node_inventory;
    return field_list(field<1>("node", &s::node), field<2>("name", &s::name),
                      field<3>("cores", &s::cores, at_most(1024)),
                      field<4>("memory_bytes", &s::memory_bytes),
                      field<5>("oversubscribed", &s::oversubscribed),
                      field<6>("gpus", &s::gpus, at_most(gpus_per_node_max)),
                      field<7>("features", &s::features, at_most(features_max)));
  }
};

/// One row of `troupe nodes`.
struct node_row {
  static constexpr std::string_view type_name = "NodeRow";
  std::string name;
  node_state state = node_state::up;
  std::uint32_t cores = 0;
  std::uint32_t cores_used = 0;
  std::uint64_t memory_bytes = 0;
  std::uint64_t memory_used_bytes = 0;
  std::uint32_t elements_running = 0;
  bool oversubscribed = false;
  std::string reason;
  std::uint32_t gpus = 0;
  std::uint32_t gpus_used = 0;
  std::vector<std::string> features;

  static constexpr auto fields() {
    using s = node_row;
    return field_list(field<1>("name", &s::name), field<2>("state", &s::state),
                      field<3>("cores", &s::cores), field<4>("cores_used", &s::cores_used),
                      field<5>("memory_bytes", &s::memory_bytes),
                      field<6>("memory_used_bytes", &s::memory_used_bytes),
                      field<7>("elements_running", &s::elements_running),
                      field<8>("oversubscribed", &s::oversubscribed),
                      field<9>("reason", &s::reason), field<10>("gpus", &s::gpus),
                      field<11>("gpus_used", &s::gpus_used), field<12>("features", &s::features));
  }
};

// -- actors as the console sees them -------------------------------------------

struct actor_row {
  static constexpr std::string_view type_name = "ActorRow";
  std::uint64_t id = 0;
  std::string name; ///< "job/812", "node/1"
  std::uint64_t parent = 0;
  std::uint64_t received = 0;
  std::uint64_t handled = 0;
  std::uint64_t refused = 0;
  std::uint64_t mailbox = 0;
  std::uint64_t busy_us = 0;
  std::string last_error;

  static constexpr auto fields() {
    using s = actor_row;
    return field_list(field<1>("id", &s::id), field<2>("name", &s::name),
                      field<3>("parent", &s::parent), field<4>("received", &s::received),
                      field<5>("handled", &s::handled), field<6>("refused", &s::refused),
                      field<7>("mailbox", &s::mailbox), field<8>("busy_us", &s::busy_us),
                      field<9>("last_error", &s::last_error));
  }
};

enum class status_verbosity : std::uint8_t { info, detailed, debug };

const char* to_string(status_verbosity verbosity);
bool from_string(std::string_view text, status_verbosity& verbosity);

/// What an actor tells of itself: names and values, ready to print.
struct status_report {
  static constexpr std::string_view type_name = "StatusReport";
  using answer_tag = void;
  struct item {
    std::string key;
    std::string value;
    static constexpr auto fields() {
      return field_list(field<1>("key", &item::key), field<2>("value", &item::value));
    }
  };
  std::string actor;
  std::vector<item> items;

  static constexpr auto fields() {
    using s = status_report;
    return field_list(field<1>("actor", &s::actor), field<2>("items", &s::items));
  }
};

// -- sessions -------------------------------------------------------------------

struct key_row {
  static constexpr std::string_view type_name = "KeyRow";
  std::uint32_t key_id = 0;
  std::string state;
  std::string public_key; ///< hexadecimal
  utc_ns not_after_utc_ns = 0;
  static constexpr auto fields() {
    using s = key_row;
    return field_list(field<1>("key_id", &s::key_id), field<2>("state", &s::state),
                      field<3>("public_key", &s::public_key),
                      field<4>("not_after_utc_ns", &s::not_after_utc_ns));
  }
};

/// A job request as the holder signed it, with its seal (auth/job_request.hpp, auth/seal.hpp).
struct signed_request {
  static constexpr std::string_view type_name = "SignedRequest";
  std::vector<std::uint8_t> body;
  std::vector<std::uint8_t> seal;
  static constexpr auto fields() {
    return field_list(field<1>("body", &signed_request::body, at_most(4096)),
                      field<2>("seal", &signed_request::seal, at_most(1024)));
  }
};

/// The digest that a job request names: BLAKE2b-256 over the canonical CBOR of the spec.
digest spec_digest(const job_spec& spec);

/// What is wrong with the spec by itself, whatever the cluster: a sentence, or nothing.
expected<void> validate(const job_spec& spec);

/// How many elements the spec asks for; 1 without an array.
std::uint32_t element_count(const job_spec& spec);

} // namespace troupe
