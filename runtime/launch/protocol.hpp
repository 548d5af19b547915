// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>

// What trouped and troupe-launcher say to each other over a Unix SOCK_SEQPACKET socket: one struct
// per message, one datagram per struct, little-endian as it lies in memory. Freestanding: the
// launcher compiles it too. Both are of one release and on one host; `protocol_version` says so.
//
// A datagram is a `header`, the struct of its kind, and for some kinds a tail whose length the
// struct or the datagram gives. Lengths are checked before anything else is read.

namespace troupe::launch {

static_assert(std::endian::native == std::endian::little, "layouts are used as they lie in memory");

inline constexpr std::uint32_t protocol_version = 1;
inline constexpr std::size_t datagram_bytes_max = 8192;

inline constexpr std::uint32_t batch_magic = 0x314c5254; ///< "TRL1"
inline constexpr std::size_t batch_bytes_max = 8 * 1024 * 1024;
inline constexpr std::uint32_t batch_orders_max = 4096;

enum class kind : std::uint16_t {
  hello = 1, ///< who is there: first message of a connection; answered by `welcome`
  launch, ///< a batch of sealed orders in a sealed memfd; answered by refusals, then `batch_done`
  signal, ///< send a signal to the ranks of some elements
  end,    ///< SIGTERM, grace, SIGKILL for running elements, unstarted ones are revoked
  revoke, ///< give back unstarted elements from one on; answered by `revoked` records
  acknowledge, ///< everything up to a sequence number is durable with the peer
  lend,        ///< lend the read end of a stream again; answered by `stream`
  drop_stream, ///< nobody will read this stream any more; it is closed
  inventory,   ///< what runs and waits; answered by `stream`s, `inventory_part`s, `inventory_end`
  reexec,      ///< replace the program, keep the children; answered by a new connection's welcome
  shutdown,    ///< end, with or without ending the jobs
  forget,      ///< this (job, incarnation, step) is finished everywhere: drop what repeats it
  acknowledge_ranges, ///< these records are durable with the peer; see `feature_ranges`

  welcome = 101, ///< who this launcher is
  records,       ///< what happened, in the order of sequence numbers
  refusal,       ///< one order or request that was not done, and why
  batch_done,    ///< every order of a batch has been accepted or refused
  stream,        ///< a stream's identity, with its read end
  inventory_part,
  inventory_end,
  detail, ///< the sentence that belongs to a start_failed record; comes before it
};

/// First in every datagram.
struct header {
  kind what{};
  std::uint16_t reserved = 0;
  std::uint32_t features = 0; ///< of a welcome: what this launcher can do that an older one cannot
};

inline constexpr std::uint32_t feature_ranges = 1; ///< takes `acknowledge_ranges`
/// No feature but a warning: of what an earlier start of it ran, something may still be running.
inline constexpr std::uint32_t feature_uncertain = 2;

/// One step of one incarnation of a job: what elements are grouped by.
struct group_key {
  std::uint64_t job = 0;
  std::uint32_t incarnation = 0;
  std::uint32_t step = 0;

  bool operator==(const group_key&) const = default;
};

// --- trouped to launcher -------------------------------------------------------------------------

/// Followed by the keyring's bytes, to the end of the datagram.
struct hello {
  static constexpr kind what = kind::hello;
  std::uint32_t version = protocol_version;
  std::uint32_t reserved = 0;
};

/// Carries one memfd with all four seals, of exactly `bytes` bytes:
/// u32 batch_magic, u32 orders, per order { u32 order_len, u32 seal_len, u32 spec_index, order,
/// seal }, u32 specs, per spec { u32 len, bytes }.
struct launch_batch {
  static constexpr kind what = kind::launch;
  std::uint64_t tag = 0; ///< returned in refusals and in `batch_done`
  std::uint64_t bytes = 0;
};

/// Elements `element_lo` to `element_hi`, both included; without an array both 0xffffffff.
struct signal_request {
  static constexpr kind what = kind::signal;
  group_key key;
  std::uint32_t element_lo = 0;
  std::uint32_t element_hi = 0xffffffff;
  std::uint32_t signo = 0;
  std::uint32_t reserved = 0;
};

struct end_request {
  static constexpr kind what = kind::end;
  group_key key;
  std::uint32_t element_lo = 0;
  std::uint32_t element_hi = 0xffffffff;
  std::uint32_t grace_s = 0;
  std::uint32_t reserved = 0;
};

/// Unstarted elements >= element_from come back as `revoked` records.
struct revoke_request {
  static constexpr kind what = kind::revoke;
  group_key key;
  std::uint32_t element_from = 0;
  std::uint32_t reserved = 0;
};

struct acknowledge_request {
  static constexpr kind what = kind::acknowledge;
  std::uint64_t seq = 0;
};

/// Records first to last, both included.
struct seq_range {
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  bool operator==(const seq_range&) const = default;
};

inline constexpr std::uint32_t ranges_per_datagram = 256;

/// Followed by `count` seq_range. A record that nobody can make durable holds up no other.
struct acknowledge_ranges_request {
  static constexpr kind what = kind::acknowledge_ranges;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};

struct lend_request {
  static constexpr kind what = kind::lend;
  std::uint64_t stream = 0;
};

struct drop_stream_request {
  static constexpr kind what = kind::drop_stream;
  std::uint64_t stream = 0;
};

struct inventory_request {
  static constexpr kind what = kind::inventory;
};

struct reexec_request {
  static constexpr kind what = kind::reexec;
};

struct shutdown_request {
  static constexpr kind what = kind::shutdown;
  std::uint32_t end_jobs = 1; ///< 0 is refused while something runs
  std::uint32_t reserved = 0;
};

struct forget_request {
  static constexpr kind what = kind::forget;
  group_key key;
};

// --- launcher to trouped -------------------------------------------------------------------------

enum class launcher_mode : std::uint32_t { private_user = 1, cluster = 2 };

struct node_range {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

/// Followed by `ranges` node_range.
struct welcome {
  static constexpr kind what = kind::welcome;
  std::uint32_t version = protocol_version;
  launcher_mode mode = launcher_mode::private_user;
  std::uint8_t instance[16] = {};
  std::uint8_t cluster_id[16] = {};
  std::uint32_t pid = 0;
  std::uint32_t uid = 0;
  std::uint32_t keyring_version = 0;
  std::uint32_t ranges = 0;
};

enum class record_kind : std::uint8_t {
  started = 1,  ///< its processes exist. Left out when the element ended before it could be sent.
  exited,       ///< all ranks here and what they left behind are gone
  start_failed, ///< a rank could not be started: `stage` and `error` say why; also after `started`
  revoked,      ///< `element_count` elements from `element` on will not be started
};

/// How far a child came between fork and exec.
enum class start_stage : std::uint32_t {
  none = 0,
  fork,
  session,
  limits,
  identity,
  binding,
  directory,
  input,
  output,
  error_output,
  script,
  exec,
  pipe,
  shepherd, ///< MPI ranks: theirs could not be started, or ended before them
};

inline constexpr std::uint8_t record_timed_out = 1;  ///< ended by its time limit
inline constexpr std::uint8_t record_ended = 2;      ///< ended by an `end` request or a shutdown
inline constexpr std::uint8_t record_array = 4;      ///< `element` is an array element
inline constexpr std::uint8_t record_unkillable = 8; ///< something it left behind does not die
inline constexpr std::uint8_t record_never_ran =
    16; ///< start_failed: no rank here reached its program

/// One thing that happened to one element here. Kept until acknowledged.
struct record {
  record_kind what{};
  std::uint8_t flags = 0;
  std::uint16_t reserved = 0;
  std::uint32_t node_id = 0;
  std::uint64_t seq = 0; ///< rises; gaps mean nothing
  group_key key;
  std::uint32_t element = 0;
  std::uint32_t element_count = 1; ///< more than 1 only when revoked
  std::uint32_t rank = 0;          ///< the first that failed, else the first here
  std::int32_t exit_code = 0;      ///< of that rank; 0 when it was killed by a signal
  std::uint32_t signal = 0;        ///< that killed that rank, or 0
  std::int32_t error = 0;          ///< errno of a start_failed
  std::uint32_t pid = 0;           ///< of the first rank here
  std::uint32_t leftovers = 0;     ///< processes that had to be ended after the last rank
  std::int64_t start_utc_ns = 0;
  std::int64_t end_utc_ns = 0;
  std::int64_t user_us = 0;
  std::int64_t system_us = 0;
  std::int64_t max_rss_bytes = 0; ///< of the largest process
  start_stage stage{};
  std::uint32_t slot = 0; ///< of the group's window, which the element has or had
};
static_assert(sizeof(record) == 112);

inline constexpr std::uint32_t records_per_datagram = 64;

/// Followed by `count` records.
struct records_group {
  static constexpr kind what = kind::records;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};

enum class reason : std::uint32_t {
  malformed = 1, ///< lengths, magic, seals of the memfd, a format's own rules
  not_connected, ///< before a hello, or the peer may not speak
  keyring,       ///< the keyring was not accepted
  unknown_key,   ///< the seal names a key that may not sign
  signature,     ///< it does not verify
  wrong_cluster,
  wrong_node,
  wrong_instance,
  expired,    ///< or not yet issued
  identity,   ///< uid, gid or groups that this launcher never runs as
  wrong_spec, ///< what would be executed is not what was signed
  repeated,   ///< an element of this (job, incarnation, step) was ordered before
  table_full,
  not_found, ///< nothing such runs here
  busy,
  unsupported,
  system, ///< the kernel did not give something
};

/// Followed by a sentence, to the end of the datagram.
struct refusal {
  static constexpr kind what = kind::refusal;
  std::uint64_t tag = 0;            ///< of the batch; 0 for other requests
  std::uint32_t order = 0xffffffff; ///< index in the batch; 0xffffffff = all of it
  reason why{};
  group_key key; ///< zero where it could not be read
  std::uint32_t element_first = 0;
  std::uint32_t element_count = 0;
};

struct batch_done {
  static constexpr kind what = kind::batch_done;
  std::uint64_t tag = 0;
  std::uint32_t accepted = 0;
  std::uint32_t refused = 0;
};

/// Carries the read end, non-blocking by choice of the receiver; of a shepherd its agent's end. Of
/// input it carries two: the write end, and the store. That is a memfd whose file position says how
/// much of it has been written, which outlives whoever writes.
struct stream {
  static constexpr kind what = kind::stream;
  std::uint64_t id = 0;
  group_key key;
  std::uint32_t element = 0;
  std::uint32_t rank = 0;
  std::uint32_t which = 1; ///< 1 standard output, 2 standard error, 3 the shepherd's socket,
                           ///< 4 standard input
  std::uint32_t node_id = 0;
  std::uint32_t uid = 0; ///< its job's user
  std::uint32_t reserved = 0;
};

enum class inventory_state : std::uint32_t { running = 1, queued = 2, ending = 3 };

struct inventory_entry {
  group_key key;
  std::uint32_t element = 0;
  std::uint32_t element_count = 1;
  inventory_state state{};
  std::uint32_t node_id = 0;
  std::int64_t start_utc_ns = 0;
  std::uint32_t pid = 0;
  std::uint16_t is_array = 0;
  std::uint16_t slot = 0; ///< of what runs
};
static_assert(sizeof(inventory_entry) == 48);

inline constexpr std::uint32_t inventory_per_datagram = 128;

/// Followed by `count` inventory_entry.
struct inventory_part {
  static constexpr kind what = kind::inventory_part;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};

/// `last_seq` is the number of the last record that is kept, and `acknowledged_seq` that before the
/// first; both are the same when none is. What is kept is sent to every new peer.
struct inventory_end {
  static constexpr kind what = kind::inventory_end;
  std::uint64_t last_seq = 0;
  std::uint64_t acknowledged_seq = 0;
};

/// Followed by a sentence, to the end of the datagram.
struct detail {
  static constexpr kind what = kind::detail;
  std::uint64_t seq = 0;
};

inline const char* to_string(start_stage stage) {
  switch (stage) {
  case start_stage::none: return "nothing yet";
  case start_stage::fork: return "creating the process";
  case start_stage::session: return "making its session";
  case start_stage::limits: return "setting its limits";
  case start_stage::identity: return "becoming the user";
  case start_stage::binding: return "binding to its cores";
  case start_stage::directory: return "entering the working directory";
  case start_stage::input: return "opening the standard input";
  case start_stage::output: return "opening the standard output";
  case start_stage::error_output: return "opening the standard error";
  case start_stage::script: return "preparing the script";
  case start_stage::exec: return "executing the program";
  case start_stage::pipe: return "making the pipes or the terminal of its streams";
  case start_stage::shepherd: return "being served by its shepherd";
  }
  return "an unknown step";
}

inline const char* to_string(reason why) {
  switch (why) {
  case reason::malformed: return "malformed";
  case reason::not_connected: return "not_connected";
  case reason::keyring: return "keyring";
  case reason::unknown_key: return "unknown_key";
  case reason::signature: return "signature";
  case reason::wrong_cluster: return "wrong_cluster";
  case reason::wrong_node: return "wrong_node";
  case reason::wrong_instance: return "wrong_instance";
  case reason::expired: return "expired";
  case reason::identity: return "identity";
  case reason::wrong_spec: return "wrong_spec";
  case reason::repeated: return "repeated";
  case reason::table_full: return "table_full";
  case reason::not_found: return "not_found";
  case reason::busy: return "busy";
  case reason::unsupported: return "unsupported";
  case reason::system: return "system";
  }
  return "unknown";
}

} // namespace troupe::launch
