// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

// Re-exec: the program is replaced, the process stays, and with it its children. The state goes
// through a memfd as tables of entries with their size, which the new program checks before it
// believes them; descriptors keep their numbers. If it cannot take over, it ends, and what runs
// ends with it: never does anything run unseen.

namespace troupe::launcher {

namespace {

constexpr std::uint32_t state_magic = 0x31535254; // "TRS1"
constexpr std::uint32_t state_version = 4;
/// Of the release before: its records have no gaps, and so no count.
constexpr std::uint32_t state_version_before = 3;
constexpr std::size_t state_bytes_max = retained_bytes_max + 256UL * 1024 * 1024;

struct state_header {
  std::uint32_t magic;
  std::uint32_t version;
  std::uint8_t instance[16];
  std::uint64_t last_seq, acknowledged_seq, next_stream_id;
  std::int64_t sweep_at_ns;
  std::int32_t listen_fd, peer_fd, lock_fd, error_read, error_write;
  std::uint32_t announce_head, announce_tail, ended_head, all_elements, queued, detail_next;
  std::uint32_t cgroup_count;
  std::uint32_t peer_said_hello;
  std::uint32_t stopping; ///< bit 0; bit 1: leftovers_uncertain
  std::uint32_t records;  ///< how many follow the tables
};

class writer {
public:
  explicit writer(int fd) : fd_{fd} {}
  void put(const void* bytes, std::size_t length) {
    const auto* from = static_cast<const char*>(bytes);
    while (length > 0 && !failed_) {
      if (used_ == sizeof buffer_)
        flush();
      auto part = length < sizeof buffer_ - used_ ? length : sizeof buffer_ - used_;
      std::memcpy(buffer_ + used_, from, part);
      used_ += part;
      from += part;
      length -= part;
    }
  }
  template <class T>
  void put(const T& value) {
    put(&value, sizeof value);
  }
  bool finish() {
    flush();
    return !failed_;
  }

private:
  void flush() {
    failed_ = failed_ || ::write(fd_, buffer_, used_) != static_cast<ssize_t>(used_);
    used_ = 0;
  }
  int fd_;
  bool failed_ = false;
  std::size_t used_ = 0;
  char buffer_[64 * 1024];
};

template <class T, std::uint32_t Size, class Extra>
void put_table(writer& out, pool<T, Size>& table, Extra&& extra) {
  out.put(static_cast<std::uint32_t>(sizeof(T)));
  out.put(table.high);
  out.put(table.in_use);
  for (std::uint32_t i = 0; i < table.high; ++i) {
    if (!table[i].used)
      continue;
    out.put(i);
    out.put(table[i]);
    extra(table[i]);
  }
}

/// `extra` reads what put_table's wrote after an entry; false = it could not.
template <class T, std::uint32_t Size, class Extra>
bool take_table(auth::byte_reader& in, pool<T, Size>& table, Extra&& extra) {
  auto size = in.take<std::uint32_t>();
  auto high = in.take<std::uint32_t>();
  auto count = in.take<std::uint32_t>();
  if (in.failed() || size != sizeof(T) || high > Size || count > high)
    return false;
  table.high = high;
  for (std::uint32_t n = 0; n < count; ++n) {
    auto i = in.take<std::uint32_t>();
    auto bytes = in.take_bytes(sizeof(T));
    if (in.failed() || i >= high)
      return false;
    std::memcpy(static_cast<void*>(&table[i]), bytes.data(), sizeof(T));
    if (!table[i].used || !extra(table[i]))
      return false;
  }
  table.rebuild_free_list();
  return true;
}

std::uint8_t* take_copy(auth::byte_reader& in, std::size_t length) {
  auto bytes = in.take_bytes(length);
  auto* copy = in.failed() ? nullptr : static_cast<std::uint8_t*>(std::malloc(length));
  if (copy != nullptr)
    std::memcpy(copy, bytes.data(), length);
  return copy;
}

bool save(launcher& l, int fd) {
  state_header head{};
  head.magic = state_magic;
  head.version = state_version;
  std::memcpy(head.instance, l.instance, sizeof head.instance);
  head.last_seq = l.last_seq;
  head.acknowledged_seq = acknowledged_seq(l);
  head.records = l.records.in_use;
  head.next_stream_id = l.next_stream_id;
  head.sweep_at_ns = l.sweep_at_ns;
  head.listen_fd = l.listen_fd;
  head.peer_fd = l.peer_fd;
  head.lock_fd = l.lock_fd;
  head.error_read = l.error_read;
  head.error_write = l.error_write;
  head.announce_head = l.announce_head;
  head.announce_tail = l.announce_tail;
  head.ended_head = l.ended_head;
  head.all_elements = l.all_elements;
  head.queued = l.queued;
  head.detail_next = l.detail_next;
  head.cgroup_count = l.cgroup_count;
  head.peer_said_hello = l.peer_said_hello;
  head.stopping = (l.stopping ? 1U : 0U) | (l.leftovers_uncertain ? 2U : 0U);
  static writer out{-1};
  out = writer{fd};
  out.put(head);
  out.put(l.files_limit);
  auto nothing = [](const auto&) {};
  put_table(out, l.specs, [](const spec_entry& s) { out.put(s.data, s.bytes); });
  put_table(out, l.orders, [](const order_entry& o) { out.put(o.data, o.bytes); });
  put_table(out, l.intervals, nothing);
  put_table(out, l.chunks, nothing);
  put_table(out, l.groups, nothing);
  put_table(out, l.elements, nothing);
  put_table(out, l.ranks, nothing);
  put_table(out, l.streams, nothing);
  put_table(out, l.strays, nothing);
  put_table(out, l.shepherds, nothing);
  for (auto at = l.record_head; at != none; at = l.records[at].next)
    out.put(l.records[at].what);
  out.put(l.details, sizeof l.details);
  return out.finish();
}

bool take_spec(launcher& l, auth::byte_reader& in, spec_entry& s) {
  s.data = take_copy(in, s.bytes);
  s.prepared = s.data == nullptr ? nullptr : prepare_spec(s.data, s.bytes);
  l.retained_bytes += std::size_t{s.bytes} * 2;
  return s.prepared != nullptr;
}

bool take_order(launcher& l, auth::byte_reader& in, order_entry& o) {
  o.data = take_copy(in, o.bytes);
  if (o.data == nullptr || auth::decode_order({o.data, o.bytes}, o.view) || !l.specs.valid(o.spec))
    return false;
  o.strings = prepare_order_strings(o.view, *l.specs[o.spec].prepared);
  l.retained_bytes += o.bytes;
  return o.strings != nullptr;
}

bool take_header(launcher& l, auth::byte_reader& in, std::uint64_t& records) {
  state_header head{};
  auto bytes = in.take_bytes(sizeof head);
  auto limit = in.take_bytes(sizeof l.files_limit);
  if (in.failed())
    return false;
  std::memcpy(&head, bytes.data(), sizeof head);
  std::memcpy(&l.files_limit, limit.data(), sizeof l.files_limit);
  bool is_before = head.version == state_version_before;
  if (head.magic != state_magic || (head.version != state_version && !is_before))
    return false;
  records = is_before ? head.last_seq - head.acknowledged_seq : head.records;
  std::memcpy(l.instance, head.instance, sizeof l.instance);
  l.last_seq = head.last_seq;
  l.next_stream_id = head.next_stream_id;
  l.sweep_at_ns = head.sweep_at_ns;
  l.listen_fd = head.listen_fd;
  l.peer_fd = head.peer_fd;
  l.lock_fd = head.lock_fd;
  l.error_read = head.error_read;
  l.error_write = head.error_write;
  l.announce_head = head.announce_head;
  l.announce_tail = head.announce_tail;
  l.ended_head = head.ended_head;
  l.all_elements = head.all_elements;
  l.queued = head.queued;
  l.detail_next = head.detail_next;
  l.cgroup_count = head.cgroup_count;
  l.peer_said_hello = head.peer_said_hello != 0;
  l.stopping = (head.stopping & 1) != 0;
  l.leftovers_uncertain = (head.stopping & 2) != 0;
  return records <= records_max;
}

bool load(launcher& l, auth::byte_reader& in) {
  auto nothing = [](const auto&) { return true; };
  std::uint64_t records = 0;
  bool tables = take_header(l, in, records) &&
                take_table(in, l.specs, [&](spec_entry& s) { return take_spec(l, in, s); }) &&
                take_table(in, l.orders, [&](order_entry& o) { return take_order(l, in, o); }) &&
                take_table(in, l.intervals, nothing) && take_table(in, l.chunks, nothing) &&
                take_table(in, l.groups, nothing) && take_table(in, l.elements, nothing) &&
                take_table(in, l.ranks, nothing) && take_table(in, l.streams, nothing) &&
                take_table(in, l.strays, nothing) && take_table(in, l.shepherds, nothing);
  for (; tables && records > 0; --records) {
    launch::record what;
    auto bytes = in.take_bytes(sizeof what);
    if (in.failed())
      return false;
    std::memcpy(&what, bytes.data(), bytes.size());
    tables = restore_record(l, what);
  }
  auto bytes = in.take_bytes(sizeof l.details);
  if (!tables || !in.at_end())
    return false;
  std::memcpy(l.details, bytes.data(), bytes.size());
  return true;
}

void rebuild_hashes(launcher& l) {
  rebuild_slots(l);
  for (std::uint32_t i = 0; i < l.specs.high; ++i) {
    if (!l.specs[i].used)
      continue;
    auto& bucket = l.spec_buckets[load_le<std::uint32_t>(l.specs[i].digest) & (buckets - 1)];
    l.specs[i].hash_next = bucket;
    bucket = i + 1;
  }
  for (bool alive : {false, true}) // those alive are found first
    for (std::uint32_t i = 0; i < l.ranks.high; ++i)
      if (l.ranks[i].used && l.ranks[i].pid != 0 && l.ranks[i].alive == alive)
        insert_rank(l, i);
  for (std::uint32_t i = 0; i < l.strays.high; ++i) {
    if (!l.strays[i].used)
      continue;
    auto& bucket = l.stray_buckets[static_cast<std::uint32_t>(l.strays[i].pid) & (buckets - 1)];
    l.strays[i].hash_next = bucket;
    bucket = i + 1;
  }
}

/// False when one of them would be lost, or stay open in what the launcher executes.
bool keep_descriptors(launcher& l, bool keep) {
  bool done = true;
  for (int fd : {l.listen_fd, l.peer_fd, l.lock_fd, l.error_read, l.error_write})
    done = set_close_on_exec(fd, !keep) && done;
  for (std::uint32_t i = 0; i < l.streams.high; ++i)
    if (l.streams[i].used) {
      for (int fd : {l.streams[i].lent_fd, l.streams[i].held_fd, l.streams[i].store_fd})
        done = set_close_on_exec(fd, !keep) && done;
    }
  for (std::uint32_t i = 0; i < l.shepherds.high; ++i)
    if (l.shepherds[i].used)
      for (int fd :
           {l.shepherds[i].channel_fd, l.shepherds[i].stub_read, l.shepherds[i].stub_write})
        done = set_close_on_exec(fd, !keep) && done;
  return done;
}

} // namespace

void reexec(launcher& l) {
  l.reexec_wanted = false;
  flush_chain(l);
  if (!out_queue_empty(l))
    drop_peer(l, "it must connect again after the re-exec, it had not read everything");
  int fd = ::memfd_create("troupe-launcher-state", MFD_CLOEXEC);
  if (fd < 0 || !save(l, fd)) {
    say("cannot save the state for a re-exec: %s; going on as before", std::strerror(errno));
    if (fd >= 0)
      ::close(fd);
    return;
  }
  if (!keep_descriptors(l, true) || !set_close_on_exec(fd, false)) {
    say("cannot keep the descriptors for a re-exec: %s; going on as before", std::strerror(errno));
    (void)keep_descriptors(l, false);
    ::close(fd);
    return;
  }
  char number[16];
  char deadline[32];
  std::snprintf(number, sizeof number, "%d", fd);
  std::snprintf(deadline, sizeof deadline, "%lld",
                static_cast<long long>(l.opts.exec_deadline_ns / 1'000'000));
  const char* arguments[] = {"troupe-launcher",
                             "run",
                             "--state",
                             l.opts.state,
                             "--socket",
                             l.opts.socket,
                             "--resume-fd",
                             number,
                             "--exec-deadline-ms",
                             deadline,
                             l.opts.cgroup == nullptr ? nullptr : "--cgroup",
                             l.opts.cgroup,
                             nullptr};
  ::execve(l.opts.program, const_cast<char**>(arguments), ::environ);
  say("cannot re-execute %s: %s; going on as before", l.opts.program, std::strerror(errno));
  (void)keep_descriptors(l, false);
  ::close(fd);
}

bool resume(launcher& l) {
  auto size = ::lseek(l.opts.resume_fd, 0, SEEK_END);
  if (size <= 0 || static_cast<std::size_t>(size) > state_bytes_max)
    return false;
  auto length = static_cast<std::size_t>(size);
  auto* mapped = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE, l.opts.resume_fd, 0);
  if (mapped == MAP_FAILED)
    return false;
  auth::byte_reader in{{static_cast<const std::uint8_t*>(mapped), length}};
  bool done = load(l, in);
  ::munmap(mapped, length);
  ::close(l.opts.resume_fd);
  if (!done)
    return false;
  rebuild_hashes(l);
  if (!keep_descriptors(l, false))
    say("a descriptor stays open over what is executed: %s", std::strerror(errno));
  say("took over %u running and %u waiting elements", l.elements.in_use, l.queued);
  return true;
}

} // namespace troupe::launcher
