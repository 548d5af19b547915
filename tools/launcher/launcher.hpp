// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/keyring_view.hpp"
#include "auth/seal_view.hpp"
#include "tools/launcher/tables.hpp"

#include <sys/resource.h>

// troupe-launcher: the one process of Troupe with privilege. It verifies launch orders, starts
// ranks, and keeps their exits until they are acknowledged. libsodium and libc only, one thread, no
// exceptions. Read it in this order: main, keeper, loop, peer, admit, groups, start, child, reap,
// strays, shepherds, exits, streams, reexec, survivors, chain, trust.

namespace troupe::launcher {

inline constexpr std::int64_t second_ns = 1'000'000'000;
inline constexpr std::int64_t skew_ns = 5 * second_ns;
inline constexpr std::uint32_t ranges_max = 64;
inline constexpr std::uint32_t uid_min_default = 1000;
inline constexpr std::uint32_t cgroups_max = 4096;

/// What enrolment fixed; never changes while running.
struct trust {
  launch::launcher_mode mode;
  std::uint8_t cluster_id[16];
  std::uint8_t root_key[32];
  std::uint32_t peer_uid;
  std::uint32_t uid_min;
  std::uint32_t range_count;
  launch::node_range ranges[ranges_max];

  bool is_private() const { return mode == launch::launcher_mode::private_user; }
  bool serves(std::uint32_t node) const {
    for (std::uint32_t i = 0; i < range_count; ++i)
      if (node >= ranges[i].first && node <= ranges[i].last)
        return true;
    return false;
  }
};

struct options {
  const char* state;
  const char* socket;
  const char* program;  ///< absolute path of this program, for re-exec
  const char* stub;     ///< those beside it: what MPI ranks begin as,
  const char* shepherd; ///< and what serves them
  int resume_fd;        ///< state from before a re-exec, or -1
  std::int64_t exec_deadline_ns;
  const char* cgroup; ///< a cgroup v2 directory to use, or nullptr: look
};

/// The tail of the order journal: see chain.cpp.
struct order_chain {
  int fd;
  std::uint64_t seq;
  std::uint64_t file_bytes;
  std::uint8_t hash[32];
};

/// Outgoing datagrams that the socket did not take at once.
struct out_queue {
  static constexpr std::size_t size = 4 * 1024 * 1024;
  std::size_t head, tail, used;
  std::uint8_t bytes[size];
};

struct cgroup_entry {
  int dir, events, kill_file;
  bool busy;
  bool has_limit; ///< memory.max is set
};

/// One recorded process: what the next instance looks for if this one is killed.
struct survivor {
  std::uint32_t pid, uid;
  std::int64_t start_boot_ns;
  launch::group_key key;
  std::uint32_t element;
  std::uint32_t node_id;
};

/// Which start of which machine, or container: what ran before another one is gone.
struct machine_start {
  char boot_id[40];
  std::uint64_t pid_namespace;
  std::int64_t first_process_ns; ///< start of process 1, boot time
};

struct survivors_file {
  std::uint64_t magic;
  std::int64_t active_boot_ns; ///< the launcher lived at least until then
  survivor entries[ranks_max];
  machine_start machine; ///< not in files of release 0.1
};

/// A group whose last start lacked a process, a descriptor or memory tries no other until then.
struct start_pause {
  std::int64_t until_ns; ///< boot time; 0 = it is not paused
  std::uint32_t tries;   ///< how often in a row
};
inline constexpr std::int64_t start_pause_ns = second_ns;
inline constexpr std::int64_t start_pause_ns_max = 60 * second_ns;

struct launcher {
  options opts;
  trust rules;
  uid_t own_uid;
  pid_t own_pid;
  pid_t keeper;             ///< 0 = it is gone
  bool leftovers_uncertain; ///< an earlier instance's may still run: see survivors.cpp
  std::uint8_t instance[16];

  int epoll_fd, signal_fd, timer_fd, listen_fd, peer_fd, lock_fd;
  int error_read, error_write;
  int children_fd;
  bool peer_said_hello;
  bool peer_wants_write;
  bool stopping;
  bool reexec_wanted;
  bool reap_wanted; ///< look for dead children without waiting for SIGCHLD
  bool sweep_wanted;
  bool look_failed; ///< some child could not be looked at: nobody's leftovers are known
  std::int64_t stop_deadline_ns;
  std::int64_t timer_armed_ns; ///< 0 = not armed
  std::int64_t sweep_at_ns;
  std::int64_t write_again_ns, listen_again_ns; ///< 0 = nothing was put off
  rlimit files_limit;                           ///< as found at start, for the children

  std::uint8_t keyring[auth::keyring_size_max];
  std::size_t keyring_bytes;
  auth::seal_cache seals;
  order_chain chain;
  survivors_file* survivors; ///< or nullptr when there is no room for it

  std::uint64_t last_seq;
  std::uint64_t sent_seq; ///< the last that this peer was sent
  std::uint32_t record_head, record_tail;
  std::uint32_t record_unsent; ///< the first that this peer was not sent, or none
  std::uint64_t next_stream_id;
  std::int64_t first_pending_ns; ///< since when something waits to be reported; 0 = nothing does
  std::uint32_t pending;
  std::uint32_t announce_head, announce_tail;
  std::uint32_t ended_head;
  std::uint32_t all_elements;
  std::uint32_t queued; ///< unstarted elements of all groups
  std::uint32_t paused_groups;
  std::size_t retained_bytes;
  std::uint32_t detail_next;

  std::uint32_t cgroup_count; ///< 0 = none are used
  int cgroup_dir;
  cgroup_entry cgroups[cgroups_max];

  std::uint32_t group_buckets[buckets];
  std::uint32_t rank_buckets[buckets];
  std::uint32_t stray_buckets[buckets];
  std::uint32_t spec_buckets[buckets];

  start_pause start_pauses[groups_max]; ///< of the group at the same index; not kept over re-exec

  pool<group, groups_max> groups;
  pool<chunk, chunks_max> chunks;
  pool<interval, intervals_max> intervals;
  pool<order_entry, orders_max> orders;
  pool<spec_entry, specs_max> specs;
  pool<element, elements_max> elements;
  pool<rank, ranks_max> ranks;
  pool<stream_entry, streams_max> streams;
  pool<stray, strays_max> strays;
  pool<shepherd_entry, shepherds_max> shepherds;

  pool<record_entry, records_max> records;
  detail_entry details[details_max];
  out_queue out;

  char scratch[256 * 1024];       ///< for one file of /proc
  char children_text[512 * 1024]; ///< for the list of children
};

// small things (util.cpp)
/// Empty, with nothing open; errno says why when it answers nullptr. Children do not inherit it.
launcher* make_launcher();
std::int64_t boot_now();
std::int64_t utc_now();
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
/// One descriptor is kept for when there is no other: to look at a process, to let the peer in.
/// False when it is not there; whoever released it restores it when done.
bool release_reserve();
void restore_reserve();
/// errno says why when it answers false.
bool read_file_at(const char* path, void* to, std::size_t room, std::size_t& length);
bool write_file_atomically(const char* directory, const char* name, const void* bytes,
                           std::size_t length);
bool set_close_on_exec(int fd, bool on);
struct process_stat {
  char state;
  char name[32];
  pid_t parent, process_group, session;
  std::uint64_t flags;
  std::int64_t start_boot_ns;
};
/// False when there is no such process, or when it cannot be looked at: see `is_gone`.
bool read_process_stat(pid_t pid, process_stat& out);
/// After `read_process_stat` or `read_file_at` answered false: whether it is because the process is
/// gone. Otherwise nothing is known of it, and it has to be looked at again.
bool is_gone(int error);

// trust.cpp
int enroll(int argc, char** argv);
bool load_trust(launcher& l);
bool load_keyring(launcher& l);
/// nullptr, or why the keyring was not accepted.
const char* accept_keyring(launcher& l, byte_view bytes);

// loop.cpp
int run(launcher& l);
/// Makes sure that the timer fires no later than `at_ns` (boot time).
void want_timer(launcher& l, std::int64_t at_ns);
void stop(launcher& l);

// peer.cpp
void accept_peer(launcher& l);
void read_peer(launcher& l);
void write_peer(launcher& l);
/// What was put off for want of something of the kernel's; answers the next deadline, or 0.
std::int64_t check_peer(launcher& l, std::int64_t now);
void drop_peer(launcher& l, const char* why);
/// Queues a datagram, with the descriptors of the stream with this id if there is one.
inline constexpr std::uint64_t no_stream = 0;
void send_datagram(launcher& l, const void* bytes, std::size_t length, std::uint64_t stream_id);
bool out_queue_empty(const launcher& l);
void send_welcome(launcher& l);
void refuse(launcher& l, const launch::refusal& what, const char* sentence);

template <class M>
struct message {
  launch::header head{M::what};
  M body{};
};

// admit.cpp
/// A batch's memfd that the kernel could not hand over: this process has no descriptor free.
inline constexpr int lost_descriptor = -2;
void admit_batch(launcher& l, const launch::launch_batch& request, int memfd);

// groups.cpp
std::uint32_t find_group(launcher& l, const launch::group_key& key, std::uint32_t node_id);
/// The next group of this key after `after` (none = the first): one per node.
std::uint32_t next_group(launcher& l, const launch::group_key& key, std::uint32_t after);
std::uint32_t make_group(launcher& l, const auth::order_view& order);
bool seen_before(launcher& l, const group& g, std::uint32_t lo, std::uint32_t hi);
bool remember_seen(launcher& l, group& g, std::uint32_t lo, std::uint32_t hi);
void append_chunk(launcher& l, std::uint32_t group, std::uint32_t order);
void refill(launcher& l, std::uint32_t group);
/// After each start: one that lacked something of the kernel's pauses its group, 1 s to 60 s.
void note_start(launcher& l, std::uint32_t group, bool lacked_something);
/// Groups whose pause is over start again; answers the next deadline, or 0.
std::int64_t check_paused_groups(launcher& l, std::int64_t now);
void release_slot(launcher& l, element& e);
void revoke(launcher& l, std::uint32_t group, std::uint32_t lo, std::uint32_t hi);
/// False when something of it still runs or waits.
bool forget_group(launcher& l, std::uint32_t group);
void release_order(launcher& l, std::uint32_t order);
void rebuild_slots(launcher& l);

// specs.cpp
std::uint32_t keep_spec(launcher& l, byte_view bytes, const digest& spec_digest);
std::uint32_t find_spec(launcher& l, const digest& spec_digest);
void release_spec(launcher& l, std::uint32_t spec);
prepared_spec* prepare_spec(const std::uint8_t* bytes, std::uint32_t length);
/// The order's own environment as NUL-terminated strings, ended by an empty one; malloc'ed.
char* prepare_order_strings(const auth::order_view& order, const prepared_spec& spec);

// start.cpp
void start_element(launcher& l, std::uint32_t group, std::uint32_t order, std::uint32_t number,
                   std::uint32_t slot);
/// Ranks that did not reach exec by their deadline are killed and said to have failed.
void check_exec(launcher& l, std::uint32_t element);

// child.cpp
struct child_plan {
  const auth::order_view* order; ///< decoded views live on the stack while a child is made
  const auth::order_view* binding;
  const prepared_spec* spec;
  const char* order_strings;
  std::uint32_t element;
  std::uint32_t local_rank;
  std::uint32_t rank_index;
  std::uint32_t slot;
  pid_t launcher_pid;
  bool changes_ids;
  bool has_subreaper_parent;
  int error_fd;
  int channel_fd;                 ///< of MPI ranks: to their shepherd; or -1
  int stub_fd;                    ///< where their stub says that it cannot go on
  const char* stub;               ///< what MPI ranks begin as
  int input_fd;                   ///< read end of a stream, or -1
  int output_fd, error_output_fd; ///< write ends of streams, or -1
  int terminal_fd;                ///< in place of all three, or -1
  rlimit files_limit;
};
/// What a child writes when it cannot go on; at most PIPE_BUF bytes, so it arrives whole.
struct child_failure {
  std::uint32_t rank_index;
  pid_t pid;
  launch::start_stage stage;
  std::int32_t error;
  std::uint32_t length;
  char text[480]; ///< the path concerned
};
[[noreturn]] void run_child(const child_plan& plan);
/// A helper beside the ranks: `program` is one of the launcher's own folder.
struct helper_plan {
  child_plan who;
  const char* program;
  const char* argument[2]; ///< or nullptr
  int third, fourth;       ///< descriptors it gets as 3 and 4, or -1
};
[[noreturn]] void run_helper(const helper_plan& plan);
/// A copy of this process, in that cgroup (-1: in the launcher's own); 0 in the child, -1 and
/// errno.
pid_t copy_process(launcher& l, int cgroup);
/// Names of stages as they stand in a child's process name.
launch::start_stage stage_of_name(const char* name);

// outputs.cpp: of the child, as its user
/// Whether other elements or ranks write to the file that this pattern names, too.
bool is_shared_output(const child_plan& plan, const char* pattern);
/// The first of those who share an output file empties it of what others had left in it.
void empty_of_others(const child_plan& plan, const char* pattern, int fd);

// reap.cpp
void reap(launcher& l);
void read_failures(launcher& l);
void take_failure(launcher& l, std::uint32_t rank, const child_failure& failure);
std::uint32_t find_rank(launcher& l, pid_t pid, bool alive_only);
void insert_rank(launcher& l, std::uint32_t rank);
void signal_element(launcher& l, const element& e, int signo);
void end_element(launcher& l, element& e, std::int64_t grace_ns);
/// The last rank is gone; the element ends now, or when its shepherd has.
void ranks_ended(launcher& l, std::uint32_t element);
void element_ended(launcher& l, std::uint32_t element);
void note_failure(launcher& l, element& e, std::uint32_t rank, launch::start_stage stage,
                  int error_number, const char* text, std::size_t length);

// shepherds.cpp
/// Finds or starts the shepherd of an element's ranks; 0 or an errno.
int join_shepherd(launcher& l, element& e);
/// True while the element's end has to wait for its shepherd's.
bool leave_shepherd(launcher& l, std::uint32_t element);
/// Whether a dead child was a shepherd or its cleaner; called once it is reaped.
bool shepherd_died(launcher& l, pid_t pid, int status);
bool is_shepherd(launcher& l, pid_t pid);
/// Reads what stubs wrote that could not go on.
void read_stub_failures(launcher& l);
/// After a re-exec: their sockets are watched again.
void watch_shepherds(launcher& l);
/// Kills those that were asked to end and did not; answers the next deadline, or 0.
std::int64_t check_shepherds(launcher& l, std::int64_t now);

// strays.cpp
void sweep(launcher& l);
/// A dead child that is no rank, before it is reaped.
void stray_died(launcher& l, pid_t pid);

// exits.cpp
std::uint32_t outstanding_records(const launcher& l);
launch::record& add_record(launcher& l, launch::record_kind what, const group& g);
/// Forgets the records first to last, as far as this peer was sent them.
void acknowledge(launcher& l, std::uint64_t first, std::uint64_t last);
/// A new peer is sent all that is kept.
void send_records_again(launcher& l);
/// The number before the first record that is kept.
std::uint64_t acknowledged_seq(launcher& l);
/// After a re-exec: a record as it was, after all others.
bool restore_record(launcher& l, const launch::record& what);
void note_pending(launcher& l);
/// Reports what is due; answers in how many milliseconds to come back, or -1.
int flush_if_due(launcher& l);
void send_records(launcher& l);
void send_inventory(launcher& l);

// streams.cpp
/// Makes the streams of one rank where its spec asks for them, and says what its child gets; 0 or
/// an errno.
int open_streams(launcher& l, const element& e, const auth::order_view& order,
                 const prepared_spec& spec, std::uint32_t rank, child_plan& plan);
/// After its child has been made: what that alone keeps open.
void close_child_input(child_plan& plan);
void send_stream(launcher& l, std::uint32_t stream);
void close_stream_writer(launcher& l, std::uint32_t stream);
void close_input(launcher& l, std::uint32_t stream);
void drop_stream(launcher& l, std::uint32_t stream);
std::uint32_t find_stream(launcher& l, std::uint64_t id);

// cgroups.cpp
void find_cgroups(launcher& l);
/// Its index, or -1 where none are used; 0 or an errno.
int take_cgroup(launcher& l, std::uint64_t memory_bytes, std::int32_t& cgroup);
/// Processes that were still in it, all killed; 0 = empty.
std::uint32_t kill_cgroup(launcher& l, int cgroup);
bool cgroup_is_empty(launcher& l, int cgroup);
void give_back_cgroup(launcher& l, int cgroup);

// chain.cpp
void open_chain(launcher& l);
void chain_order(launcher& l, const auth::order_view* order, byte_view bytes,
                 std::uint32_t reason_code);
void flush_chain(launcher& l);

// keeper.cpp
inline constexpr char keeper_name[] = "troupe-keeper"; ///< of its process; at most 15 bytes
inline constexpr char shepherd_name[] = "troupe-shepherd";
/// What a shepherd that is told to end has for its own end.
inline constexpr std::int64_t shepherd_end_wait_ns = 4 * second_ns;
inline constexpr int keeper_died_signal = 10; // SIGUSR1
/// Makes the keeper of this process, which goes on as its child; false when there is no place for
/// another launcher. In the keeper it does not return.
bool start_keeper(const options& opts, char** argv, pid_t& keeper);
/// After a re-exec: it is the parent already; 0 = there is none.
pid_t find_keeper();
/// From now on `keeper_died_signal` tells of its end; false when it has died already.
bool hear_of_keeper(pid_t keeper);
/// POSIX locks: they stay over an execve, and children do not inherit them.
bool lock_as_launcher(launcher& l);

// survivors.cpp
void end_survivors(launcher& l);
/// Prints how many of them live; answers an exit code.
int count_survivors(const char* state);
void open_survivors(launcher& l);
void record_survivor(launcher& l, std::uint32_t rank);
void forget_survivor(launcher& l, std::uint32_t rank);

// reexec.cpp
void reexec(launcher& l);
bool resume(launcher& l);

} // namespace troupe::launcher
