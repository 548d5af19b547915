// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cstdlib>

// Groups: the elements of one step of one incarnation on one node. A group keeps `window` of them
// running and starts the next itself, remembers which were ever ordered, and gives back those that
// are revoked.

namespace troupe::launcher {

namespace {

std::uint32_t bucket_of(const launch::group_key& key) {
  auto mixed = (key.job * 0x9e3779b97f4a7c15ULL) ^
               (key.step * 0xc2b2ae3d27d4eb4fULL + key.incarnation * 0x165667b19e3779f9ULL);
  return static_cast<std::uint32_t>(mixed >> 32) & (buckets - 1);
}

/// A slot without a processor in its set is a hole: it was given back and nothing starts in it.
bool is_hole(const auth::order_view& view, std::uint32_t slot) {
  for (std::uint32_t word = 0; word < view.cpu_words; ++word)
    if (view.cpuset_word(slot, 0, word) != 0)
      return false;
  return view.cpu_words > 0;
}

/// The lowest free slot of the newest order's window.
bool take_slot(group& g, const auth::order_view& view, std::uint32_t& slot) {
  auto window = view.window;
  auto words = (window + 63) / 64;
  for (std::uint32_t w = 0; w < words; ++w) {
    if (w > 0 && g.more_slots == nullptr) {
      constexpr auto words_max = auth::order_window_max / 64;
      g.more_slots = static_cast<std::uint64_t*>(std::calloc(words_max, sizeof(std::uint64_t)));
      if (g.more_slots == nullptr)
        return false;
    }
    auto& bits = w == 0 ? g.slots : g.more_slots[w];
    for (auto free = ~bits; free != 0; free &= free - 1) {
      auto bit = static_cast<std::uint32_t>(__builtin_ctzll(free));
      if (w * 64 + bit >= window)
        return false;
      if (is_hole(view, w * 64 + bit))
        continue;
      bits |= std::uint64_t{1} << bit;
      slot = w * 64 + bit;
      return true;
    }
  }
  return false;
}

void drop_chunk(launcher& l, group& g) {
  auto index = g.head;
  g.head = l.chunks[index].next;
  if (g.head == none)
    g.tail = none;
  release_order(l, l.chunks[index].order);
  l.chunks.give_back(index);
}

} // namespace

std::uint32_t next_group(launcher& l, const launch::group_key& key, std::uint32_t after) {
  auto at = after == none ? l.group_buckets[bucket_of(key)] : l.groups[after].hash_next;
  for (; at != 0; at = l.groups[at - 1].hash_next)
    if (l.groups[at - 1].key == key)
      return at - 1;
  return none;
}

std::uint32_t find_group(launcher& l, const launch::group_key& key, std::uint32_t node_id) {
  auto at = next_group(l, key, none);
  while (at != none && l.groups[at].node_id != node_id)
    at = next_group(l, key, at);
  return at;
}

std::uint32_t make_group(launcher& l, const auth::order_view& order) {
  auto index = l.groups.take();
  if (index == none)
    return none;
  auto& g = l.groups[index];
  g.key = {order.job, order.incarnation, order.step};
  g.node_id = order.node_id;
  g.uid = order.uid;
  std::memcpy(g.spec_digest, order.spec_digest.data(), sizeof g.spec_digest);
  g.seen = g.head = g.tail = g.newest = g.live = none;
  auto& bucket = l.group_buckets[bucket_of(g.key)];
  g.hash_next = bucket;
  bucket = index + 1;
  return index;
}

bool seen_before(launcher& l, const group& g, std::uint32_t lo, std::uint32_t hi) {
  for (auto at = g.seen; at != none && l.intervals[at].lo <= hi; at = l.intervals[at].next)
    if (l.intervals[at].hi >= lo)
      return true;
  return false;
}

/// Inserts [lo, hi], which overlaps nothing, and joins it with its neighbours.
bool remember_seen(launcher& l, group& g, std::uint32_t lo, std::uint32_t hi) {
  auto* link = &g.seen;
  while (*link != none && l.intervals[*link].hi < lo) {
    auto& before = l.intervals[*link];
    if (before.hi + 1 == lo) {
      before.hi = hi;
      auto after = before.next;
      if (after != none && hi != none && l.intervals[after].lo == hi + 1) {
        before.hi = l.intervals[after].hi;
        before.next = l.intervals[after].next;
        l.intervals.give_back(after);
      }
      return true;
    }
    link = &before.next;
  }
  if (*link != none && hi != none && l.intervals[*link].lo == hi + 1) {
    l.intervals[*link].lo = lo;
    return true;
  }
  auto index = l.intervals.take();
  if (index == none)
    return false;
  l.intervals[index].lo = lo;
  l.intervals[index].hi = hi;
  l.intervals[index].next = *link;
  *link = index;
  return true;
}

void append_chunk(launcher& l, std::uint32_t group_index, std::uint32_t order) {
  auto& g = l.groups[group_index];
  const auto& view = l.orders[order].view;
  auto index = l.chunks.take();
  auto& c = l.chunks[index];
  c.order = order;
  c.first = view.element_first;
  c.left = view.element_count;
  c.next = none;
  ++l.orders[order].references;
  if (g.tail == none)
    g.head = index;
  else
    l.chunks[g.tail].next = index;
  g.tail = index;
  if (g.newest != none)
    release_order(l, g.newest);
  g.newest = order;
  ++l.orders[order].references;
  l.queued += view.element_count;
}

/// A start that fails at once ends its element within `start_element`, which comes back here: the
/// loop that is under way goes on with the next one.
void refill(launcher& l, std::uint32_t group_index) {
  auto& g = l.groups[group_index];
  if (g.refilling)
    return;
  g.refilling = true;
  while (g.head != none && !l.stopping && l.start_pauses[group_index].until_ns == 0) {
    const auto& newest = l.orders[g.newest].view;
    std::uint32_t slot = 0;
    if (g.running >= newest.window || !take_slot(g, newest, slot))
      break;
    auto& c = l.chunks[g.head];
    auto number = c.first;
    auto order = c.order;
    ++c.first;
    --c.left;
    --l.queued;
    start_element(l, group_index, order, number, slot);
    if (l.chunks[g.head].left == 0)
      drop_chunk(l, g);
  }
  g.refilling = false;
}

void note_start(launcher& l, std::uint32_t group_index, bool lacked_something) {
  auto& pause = l.start_pauses[group_index];
  if (!lacked_something) {
    pause.tries = 0;
    return;
  }
  const auto wait_ns = start_pause_ns << pause.tries;
  if (pause.until_ns == 0)
    ++l.paused_groups;
  pause.until_ns = boot_now() + (wait_ns < start_pause_ns_max ? wait_ns : start_pause_ns_max);
  if (wait_ns < start_pause_ns_max)
    ++pause.tries;
  want_timer(l, pause.until_ns);
}

std::int64_t check_paused_groups(launcher& l, std::int64_t now) {
  std::int64_t next = 0;
  for (std::uint32_t i = 0; l.paused_groups > 0 && i < l.groups.high; ++i) {
    auto& pause = l.start_pauses[i];
    if (pause.until_ns != 0 && now >= pause.until_ns) {
      pause.until_ns = 0;
      --l.paused_groups;
      if (l.groups[i].used)
        refill(l, i);
    }
    if (pause.until_ns != 0 && (next == 0 || pause.until_ns < next))
      next = pause.until_ns;
  }
  return next;
}

void release_slot(launcher& l, element& e) {
  auto& g = l.groups[e.group];
  auto& bits = e.slot < 64 ? g.slots : g.more_slots[e.slot / 64];
  bits &= ~(std::uint64_t{1} << e.slot % 64);
  --g.running;
}

namespace {

/// Takes [from, to] out of a chunk; what comes after it becomes a chunk of its own.
void cut_chunk(launcher& l, std::uint32_t index, std::uint32_t from, std::uint32_t to) {
  auto& c = l.chunks[index];
  auto last = c.first + (c.left - 1);
  if (to < last) {
    auto rest = l.chunks.take(); // the caller saw that there is one
    l.chunks[rest].order = c.order;
    l.chunks[rest].first = to + 1;
    l.chunks[rest].left = last - to;
    l.chunks[rest].next = c.next;
    ++l.orders[c.order].references;
    c.next = rest;
  }
  c.left = from - c.first;
  l.queued -= to - from + 1;
}

} // namespace

void revoke(launcher& l, std::uint32_t group_index, std::uint32_t lo, std::uint32_t hi) {
  auto& g = l.groups[group_index];
  auto* link = &g.head;
  g.tail = none;
  while (*link != none) {
    auto index = *link;
    auto& c = l.chunks[index];
    auto last = c.first + (c.left - 1);
    auto from = c.first > lo ? c.first : lo;
    auto to = last < hi || l.chunks.left() == 0 ? last : hi;
    if (from <= last && from <= hi) {
      auto& r = add_record(l, launch::record_kind::revoked, g);
      r.element = from;
      r.element_count = to - from + 1;
      r.flags = l.orders[c.order].view.is_array() ? launch::record_array : 0;
      cut_chunk(l, index, from, to);
    }
    if (c.left == 0) {
      *link = c.next;
      release_order(l, c.order);
      l.chunks.give_back(index);
    } else {
      g.tail = index;
      link = &c.next;
    }
  }
}

bool forget_group(launcher& l, std::uint32_t index) {
  auto& g = l.groups[index];
  if (g.live != none || g.head != none)
    return false;
  while (g.seen != none) {
    auto at = g.seen;
    g.seen = l.intervals[at].next;
    l.intervals.give_back(at);
  }
  if (g.newest != none)
    release_order(l, g.newest);
  if (l.start_pauses[index].until_ns != 0)
    --l.paused_groups;
  l.start_pauses[index] = {};
  std::free(g.more_slots);
  auto* link = &l.group_buckets[bucket_of(g.key)];
  while (*link != index + 1)
    link = &l.groups[*link - 1].hash_next;
  *link = g.hash_next;
  l.groups.give_back(index);
  return true;
}

void release_order(launcher& l, std::uint32_t index) {
  auto& order = l.orders[index];
  if (order.references > 0 && --order.references > 0)
    return;
  release_spec(l, order.spec);
  l.retained_bytes -= order.bytes;
  std::free(order.strings);
  std::free(order.data);
  l.orders.give_back(index);
}

/// After a re-exec: the slots in use are those of the elements that still hold them.
void rebuild_slots(launcher& l) {
  for (std::uint32_t i = 0; i < l.groups.high; ++i) {
    auto& g = l.groups[i];
    if (!g.used)
      continue;
    auto& bucket = l.group_buckets[bucket_of(g.key)];
    g.hash_next = bucket;
    bucket = i + 1;
    g.refilling = false;
    g.slots = 0;
    if (g.more_slots != nullptr)
      g.more_slots = static_cast<std::uint64_t*>(
          std::calloc(auth::order_window_max / 64, sizeof(std::uint64_t)));
    for (auto at = g.live; at != none; at = l.elements[at].group_next) {
      auto& e = l.elements[at];
      if (e.state == element_state::ended)
        continue;
      auto& bits = e.slot < 64 || g.more_slots == nullptr ? g.slots : g.more_slots[e.slot / 64];
      bits |= std::uint64_t{1} << e.slot % 64;
    }
  }
}

} // namespace troupe::launcher
