// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/exec_spec_view.hpp"
#include "auth/order_view.hpp"
#include "runtime/launch/protocol.hpp"

#include <cstdint>
#include <sys/types.h>

// What the launcher remembers: fixed pools linked by index. They lie in one mapping that children
// do not get (MADV_DONTFORK), so a fork copies almost nothing and a child cannot read them.

namespace troupe::launcher {

inline constexpr std::uint32_t none = 0xffffffff;

inline constexpr std::uint32_t groups_max = 65536;
inline constexpr std::uint32_t chunks_max = 65536;
inline constexpr std::uint32_t intervals_max = 131072;
inline constexpr std::uint32_t orders_max = 65536;
inline constexpr std::uint32_t specs_max = 65536;
inline constexpr std::uint32_t elements_max = 16384;
inline constexpr std::uint32_t ranks_max = 65536;
inline constexpr std::uint32_t streams_max = 8192;
inline constexpr std::uint32_t strays_max = 8192;
inline constexpr std::uint32_t shepherds_max = 4096;
inline constexpr std::uint32_t records_max = 65536;
inline constexpr std::uint32_t details_max = 256;
inline constexpr std::uint32_t buckets = 65536; ///< of each hash; a power of two
inline constexpr std::size_t retained_bytes_max = 512UL * 1024 * 1024; ///< orders and specs

/// A pool of T (with members `used` and `next`) of which only what is used is ever touched.
template <class T, std::uint32_t Size>
struct pool {
  static constexpr std::uint32_t size = Size;
  std::uint32_t high; ///< entries from here on were never used
  std::uint32_t free_plus_1;
  std::uint32_t in_use;
  T items[Size];

  T& operator[](std::uint32_t i) { return items[i]; }
  bool valid(std::uint32_t i) const { return i < high && items[i].used; }
  std::uint32_t left() const { return Size - in_use; }

  /// A cleared entry, or `none`.
  std::uint32_t take() {
    std::uint32_t i = none;
    if (free_plus_1 != 0) {
      i = free_plus_1 - 1;
      free_plus_1 = items[i].next == none ? 0 : items[i].next + 1;
    } else if (high < Size) {
      i = high++;
    }
    if (i == none)
      return none;
    ++in_use;
    items[i] = T{};
    items[i].used = true;
    return i;
  }

  void give_back(std::uint32_t i) {
    --in_use;
    items[i].used = false;
    items[i].next = free_plus_1 == 0 ? none : free_plus_1 - 1;
    free_plus_1 = i + 1;
  }

  /// After entries were put at their old places: finds the free ones again.
  void rebuild_free_list() {
    free_plus_1 = 0;
    in_use = high;
    for (std::uint32_t i = 0; i < high; ++i)
      if (!items[i].used)
        give_back(i);
  }
};

/// What a spec looks like to execve; made once, shared by all its elements.
struct prepared_spec {
  auth::exec_spec_view view;
  char** argv; ///< argc + 3 places: an interpreter and its argument may come before
  std::uint32_t argc;
  char** env;
  std::uint32_t envc;
  const char* cwd;
  const char* input;
  const char* output;
  const char* error_output;
  const char* path;                 ///< the value of PATH
  const char* interpreter;          ///< of a script
  const char* interpreter_argument; ///< or nullptr
  int script_fd;                    ///< sealed memfd, or -1
  bool has_home, has_user, has_logname, has_shell;
};

struct spec_entry {
  bool used;
  std::uint32_t next; ///< free list
  std::uint32_t hash_next;
  std::uint32_t references;
  std::uint32_t bytes;
  std::uint8_t digest[32];
  std::uint8_t* data;
  prepared_spec* prepared; ///< one allocation
};

struct order_entry {
  bool used;
  std::uint32_t next;
  std::uint32_t references; ///< chunks and elements
  std::uint32_t spec;
  std::uint32_t bytes;
  std::uint8_t* data;
  char* strings; ///< the order's environment, NUL-terminated, one after another
  auth::order_view view;
};

/// Elements seen, lo to hi, in an ascending list per group.
struct interval {
  bool used;
  std::uint32_t next;
  std::uint32_t lo, hi;
};

/// What happened, until the peer has acknowledged it: a list in the order of the numbers.
struct record_entry {
  bool used;
  std::uint32_t next; ///< free list, or the record after it
  std::uint32_t previous;
  launch::record what;
};

/// Unstarted elements [first, first + left) of one order.
struct chunk {
  bool used;
  std::uint32_t next;
  std::uint32_t order;
  std::uint32_t first;
  std::uint32_t left;
};

/// One (job, incarnation, step) on one node. Stays until forgotten, because it knows what repeats.
struct group {
  bool used;
  bool refilling;     ///< its elements are being started: an end among them starts no others
  std::uint32_t next; ///< free list
  std::uint32_t hash_next;
  launch::group_key key;
  std::uint32_t node_id;
  std::uint32_t uid;
  std::uint8_t spec_digest[32];
  std::uint32_t seen;       ///< interval list
  std::uint32_t head, tail; ///< chunk list
  std::uint32_t newest;     ///< order whose window and cpusets apply
  std::uint32_t live;       ///< element list
  std::uint32_t running;
  std::uint64_t slots;       ///< the first 64 slots in use
  std::uint64_t* more_slots; ///< the others, or nullptr
};

enum class element_state : std::uint8_t { running, ending, ended };

struct element {
  bool used;
  std::uint32_t next; ///< free list
  std::uint32_t group_next, group_previous;
  std::uint32_t all_next, all_previous;
  std::uint32_t announce_next;
  std::uint32_t ended_next;
  std::uint32_t group;
  std::uint32_t order;
  std::uint32_t number;
  std::uint32_t slot;
  std::uint32_t ranks; ///< list by next_in_element
  std::uint32_t alive;
  std::uint32_t strays; ///< being ended, not yet reaped
  element_state state;
  bool has_failed, start_failed, timed_out, end_requested, killed, unkillable;
  std::int32_t cgroup;    ///< index into the pool of cgroups, or -1
  std::uint32_t shepherd; ///< of MPI ranks, or none
  launch::start_stage stage;
  std::int32_t error;
  std::uint32_t failed_rank;
  std::int32_t exit_code;
  std::uint32_t signal;
  std::uint32_t first_pid;
  std::uint32_t leftovers;
  std::uint32_t detail;      ///< number of its sentence + 1, or 0
  std::int64_t start_utc_ns; ///< by the wall clock
  std::int64_t end_utc_ns;   ///< from there by the boot clock: setting the clock lengthens no run
  std::int64_t start_boot_ns;
  std::int64_t exec_deadline_ns;   ///< boot time; 0 = executed or gone
  std::int64_t limit_deadline_ns;  ///< 0 = no limit
  std::int64_t kill_deadline_ns;   ///< 0 = not ending
  std::int64_t linger_deadline_ns; ///< leftovers that do not die are reported then
  std::int64_t user_us, system_us, max_rss_bytes;
};

struct rank {
  bool used;
  std::uint32_t next;
  std::uint32_t hash_next;
  std::uint32_t next_in_element;
  std::uint32_t element;
  std::uint32_t local;
  pid_t pid;
  bool alive;
  bool gave_up;                              ///< it said itself that it did not reach its program
  std::uint32_t input, output, error_output; ///< streams or none
};

struct stream_entry {
  bool used;
  std::uint32_t next;
  std::uint64_t id;
  launch::group_key key;
  std::uint32_t element;
  std::uint32_t rank;
  std::uint32_t which;
  std::uint32_t node_id;
  std::uint32_t uid;
  int lent_fd;  ///< what the agent gets: of output the end to read, of input the one to write
  int held_fd;  ///< of output the other end, -1 once the element ended
  int store_fd; ///< of input: what waits to be written and how far it is; lent, too
};

/// A child that is no rank: its parent died and the launcher inherited it.
struct stray {
  bool used;
  std::uint32_t next;
  std::uint32_t hash_next;
  pid_t pid;
  std::uint32_t element; ///< whose leftover it is, or none
  bool killed;
};

/// The helper of one MPI job's ranks on this node, for all its steps: runs as their user, is
/// started before the first of them and ended after the last.
struct shepherd_entry {
  bool used;
  std::uint32_t next;
  launch::group_key key; ///< of the step that it was started for
  std::uint32_t element;
  std::uint32_t node_id;
  std::uint32_t order;       ///< says as whom; a reference
  std::uint32_t users;       ///< elements of its steps
  std::uint32_t waiter;      ///< the element whose end waits for this one's, or none
  pid_t pid;                 ///< 0 once it is gone
  pid_t cleaner;             ///< removes what a killed one left; 0 = none
  int channel_fd;            ///< where ranks ask it for their environment
  int stub_read, stub_write; ///< where they say that they cannot go on
  std::uint32_t stream;      ///< the agent's end of its socket
  std::int32_t cgroup;
  std::int64_t kill_deadline_ns; ///< 0 = it has not been asked to end
};

/// The sentence of a failed start. There are few: a later one takes the place of an older one,
/// whose record then goes without, never with another's.
inline constexpr std::uint64_t awaits_record = std::uint64_t{1} << 63;
struct detail_entry {
  std::uint64_t seq; ///< of its record; before there is one, `awaits_record` and its own number
  std::uint16_t length;
  char text[700];
};

} // namespace troupe::launcher
