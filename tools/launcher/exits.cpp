// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

// Records: numbered, kept until acknowledged, sent in groups. Room for an element's records is set
// aside when its order is accepted. Each is acknowledged by itself: one that nobody can make
// durable takes its own room and no other's.

namespace troupe::launcher {

namespace {

constexpr std::uint32_t group_size = 24;
constexpr std::int64_t group_wait_ns = 2'000'000;

void announce(launcher& l) {
  for (auto at = l.announce_head; at != none; at = l.elements[at].announce_next) {
    const auto& e = l.elements[at];
    if (e.state == element_state::ended)
      continue;
    const auto& order = l.orders[e.order].view;
    auto& r = add_record(l, launch::record_kind::started, l.groups[e.group]);
    r.flags = order.is_array() ? launch::record_array : 0;
    r.element = e.number;
    r.rank = order.rank_first;
    r.pid = e.first_pid;
    r.slot = e.slot;
    r.start_utc_ns = e.start_utc_ns;
  }
  l.announce_head = l.announce_tail = none;
}

void send_detail_of(launcher& l, std::uint64_t seq) {
  for (const auto& entry : l.details) {
    if (entry.seq != seq)
      continue;
    struct {
      message<launch::detail> head;
      char text[sizeof entry.text];
    } datagram;
    datagram.head = {};
    datagram.head.body.seq = seq;
    std::memcpy(datagram.text, entry.text, entry.length);
    send_datagram(l, &datagram, sizeof datagram.head + entry.length, no_stream);
  }
}

} // namespace

std::uint32_t outstanding_records(const launcher& l) {
  return l.records.in_use + 2 * (l.elements.in_use + l.queued);
}

namespace {

/// An empty record at the end of the list.
launch::record* append_record(launcher& l) {
  auto index = l.records.take();
  if (index == none)
    return nullptr;
  auto& entry = l.records[index];
  entry.next = none;
  entry.previous = l.record_tail;
  (l.record_tail == none ? l.record_head : l.records[l.record_tail].next) = index;
  l.record_tail = index;
  if (l.record_unsent == none)
    l.record_unsent = index;
  return &entry.what;
}

void drop_record(launcher& l, std::uint32_t index) {
  auto& entry = l.records[index];
  (entry.previous == none ? l.record_head : l.records[entry.previous].next) = entry.next;
  (entry.next == none ? l.record_tail : l.records[entry.next].previous) = entry.previous;
  l.records.give_back(index);
}

} // namespace

launch::record& add_record(launcher& l, launch::record_kind what, const group& g) {
  static launch::record nowhere; // there is room for each: orders beyond it were refused
  auto* room = append_record(l);
  if (room == nullptr)
    say("a record of job %llu has no room and is lost", static_cast<unsigned long long>(g.key.job));
  auto& r = room == nullptr ? nowhere : *room;
  r = launch::record{};
  r.what = what;
  r.seq = ++l.last_seq;
  r.key = g.key;
  r.node_id = g.node_id;
  note_pending(l);
  return r;
}

bool restore_record(launcher& l, const launch::record& what) {
  auto* room = append_record(l);
  if (room != nullptr)
    *room = what;
  return room != nullptr;
}

std::uint64_t acknowledged_seq(launcher& l) {
  return l.record_head == none ? l.last_seq : l.records[l.record_head].what.seq - 1;
}

void acknowledge(launcher& l, std::uint64_t first, std::uint64_t last) {
  // Only what was sent can have been made durable.
  if (last > l.sent_seq)
    last = l.sent_seq;
  for (auto at = l.record_head; at != none && l.records[at].what.seq <= last;) {
    auto next = l.records[at].next;
    if (l.records[at].what.seq >= first)
      drop_record(l, at);
    at = next;
  }
}

void send_records_again(launcher& l) {
  l.sent_seq = 0;
  l.record_unsent = l.record_head;
}

void note_pending(launcher& l) {
  if (l.pending++ == 0)
    l.first_pending_ns = boot_now();
}

int flush_if_due(launcher& l) {
  auto sweep_due = l.sweep_at_ns != 0 && boot_now() >= l.sweep_at_ns;
  if (l.pending == 0 && !sweep_due)
    return -1;
  if (l.queued > 0 && !l.stopping && l.pending < group_size && !sweep_due) {
    auto waited = boot_now() - l.first_pending_ns;
    if (waited < group_wait_ns)
      return 1 + static_cast<int>((group_wait_ns - waited) / 1'000'000);
  }
  announce(l);
  if (l.ended_head != none || sweep_due)
    sweep(l);
  l.pending = 0;
  send_records(l);
  return -1;
}

void send_records(launcher& l) {
  struct {
    message<launch::records_group> head;
    launch::record records[launch::records_per_datagram];
  } datagram;
  while (l.peer_said_hello && l.record_unsent != none && out_queue_empty(l)) {
    datagram.head = {};
    auto& count = datagram.head.body.count;
    for (; count < launch::records_per_datagram && l.record_unsent != none; ++count) {
      const auto& entry = l.records[l.record_unsent];
      auto& r = datagram.records[count] = entry.what;
      l.record_unsent = entry.next;
      l.sent_seq = r.seq;
      if (r.what == launch::record_kind::start_failed)
        send_detail_of(l, r.seq);
    }
    send_datagram(l, &datagram, sizeof datagram.head + count * sizeof(launch::record), no_stream);
  }
}

namespace {

struct inventory_writer {
  launcher& l;
  struct {
    message<launch::inventory_part> head;
    launch::inventory_entry entries[launch::inventory_per_datagram];
  } datagram;

  void flush() {
    auto& count = datagram.head.body.count;
    if (count != 0)
      send_datagram(l, &datagram, sizeof datagram.head + count * sizeof(launch::inventory_entry),
                    no_stream);
    count = 0;
  }
  void add(const launch::inventory_entry& entry) {
    datagram.entries[datagram.head.body.count++] = entry;
    if (datagram.head.body.count == launch::inventory_per_datagram)
      flush();
  }
};

void add_queued(inventory_writer& out, const group& g) {
  for (auto at = g.head; at != none; at = out.l.chunks[at].next) {
    const auto& c = out.l.chunks[at];
    launch::inventory_entry entry;
    entry.key = g.key;
    entry.node_id = g.node_id;
    entry.element = c.first;
    entry.element_count = c.left;
    entry.state = launch::inventory_state::queued;
    entry.is_array = out.l.orders[c.order].view.is_array();
    out.add(entry);
  }
}

} // namespace

void send_inventory(launcher& l) {
  for (std::uint32_t i = 0; i < l.streams.high; ++i)
    if (l.streams[i].used)
      send_stream(l, i);
  inventory_writer out{l, {}};
  for (auto at = l.all_elements; at != none; at = l.elements[at].all_next) {
    const auto& e = l.elements[at];
    launch::inventory_entry entry;
    entry.key = l.groups[e.group].key;
    entry.node_id = l.groups[e.group].node_id;
    entry.element = e.number;
    entry.state = e.state == element_state::running ? launch::inventory_state::running
                                                    : launch::inventory_state::ending;
    entry.start_utc_ns = e.start_utc_ns;
    entry.pid = e.first_pid;
    entry.is_array = l.orders[e.order].view.is_array();
    entry.slot = static_cast<std::uint16_t>(e.slot);
    out.add(entry);
  }
  for (std::uint32_t i = 0; i < l.groups.high; ++i)
    if (l.groups[i].used)
      add_queued(out, l.groups[i]);
  out.flush();
  message<launch::inventory_end> end;
  end.body.last_seq = l.record_tail == none ? l.last_seq : l.records[l.record_tail].what.seq;
  end.body.acknowledged_seq = acknowledged_seq(l);
  send_datagram(l, &end, sizeof end, no_stream);
}

} // namespace troupe::launcher
