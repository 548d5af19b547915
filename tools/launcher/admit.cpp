// SPDX-License-Identifier: Apache-2.0
#include "tools/launcher/launcher.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Admission: from bytes in a sealed memfd to a chunk in a group, or to a refusal with its reason.
// Nothing is believed before the seal verifies, and nothing is executed that the seal does not
// cover.

namespace troupe::launcher {

namespace {

using launch::reason;

struct verdict {
  reason why{};
  const char* text = nullptr; ///< nullptr = accepted
  explicit operator bool() const { return text != nullptr; }
};

/// The specs of one batch: digested and kept only when an order needs them.
struct batch_spec {
  byte_view bytes;
  digest computed;
  bool is_computed;
};

struct batch {
  std::uint64_t tag;
  std::uint32_t order_count;
  std::uint32_t spec_count;
  auth::byte_reader orders{byte_view{}};
};

batch_spec specs_of_batch[launch::batch_orders_max];

verdict check_memfd(int fd, std::uint64_t claimed, std::size_t& size) {
  constexpr int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  struct stat info {};
  if (fd == lost_descriptor)
    return {reason::system, "the launcher has no descriptor free for the batch; it may have later"};
  if (fd < 0)
    return {reason::malformed, "the batch came without a memfd"};
  if (auto seals = ::fcntl(fd, F_GET_SEALS); seals < 0 || (seals & all) != all)
    return {reason::malformed,
            "the batch's memfd is not sealed against sealing, shrinking, growing and writing"};
  if (::fstat(fd, &info) != 0 || info.st_size <= 0 ||
      static_cast<std::uint64_t>(info.st_size) > launch::batch_bytes_max)
    return {reason::malformed, "the batch is empty or larger than 8 MiB"};
  size = static_cast<std::size_t>(info.st_size);
  if (size != claimed)
    return {reason::malformed, "the batch is not as long as its message says"};
  return {};
}

/// Walks the whole batch once, so that no order is taken from one that is cut short.
verdict check_frame(byte_view bytes, batch& out) {
  auth::byte_reader in{bytes};
  auto magic = in.take<std::uint32_t>();
  out.order_count = in.take<std::uint32_t>();
  if (in.failed() || magic != launch::batch_magic)
    return {reason::malformed, "the batch does not begin with its magic number"};
  if (out.order_count == 0 || out.order_count > launch::batch_orders_max)
    return {reason::malformed, "a batch holds 1 to 4,096 orders"};
  out.orders = in;
  for (std::uint32_t i = 0; i < out.order_count; ++i) {
    auto order_length = in.take<std::uint32_t>();
    auto seal_length = in.take<std::uint32_t>();
    (void)in.take<std::uint32_t>();
    (void)in.take_bytes(order_length);
    (void)in.take_bytes(seal_length);
  }
  out.spec_count = in.take<std::uint32_t>();
  if (in.failed() || out.spec_count > launch::batch_orders_max)
    return {reason::malformed, "the batch ends inside its orders, or has more than 4,096 specs"};
  for (std::uint32_t i = 0; i < out.spec_count; ++i)
    specs_of_batch[i] = {in.take_prefixed<std::uint32_t>(), {}, false};
  if (!in.at_end())
    return {reason::malformed, "the batch's length is not exactly what its counts require"};
  return {};
}

verdict check_signature(launcher& l, byte_view order, byte_view seal_bytes, std::int64_t now) {
  auth::seal_view seal;
  if (auto bad = auth::decode_seal(seal_bytes, seal))
    return {reason::malformed, bad.text};
  auth::keyring_view ring{byte_view{l.keyring, l.keyring_bytes}};
  auth::keyring_entry_view key;
  if (l.keyring_bytes == 0 ||
      auth::find_verifying_key(ring, seal.key_id, now, key) != auth::key_fault::none)
    return {reason::unknown_key, "the order is sealed with a key that this cluster's keyring does "
                                 "not have, or has retired"};
  if (key.state == auth::key_state::next)
    return {reason::unknown_key, "the order is sealed with a key that is not active yet"};
  if (auto bad =
          auth::verify_seal(auth::domain::order, seal, order, byte_view{key.key, 32}, l.seals))
    return {reason::signature, bad.text};
  return {};
}

/// Orders of trouped 0.1 have the wall clock's time; a boot clock is never so old.
std::int64_t time_of(const auth::order_view& order) {
  constexpr std::int64_t wall_times_from = 1'000'000'000 * second_ns;
  return order.issued_ns < wall_times_from ? boot_now() : utc_now();
}

verdict check_scope(const launcher& l, const auth::order_view& order) {
  if (!auth::same_bytes(order.cluster_id, l.rules.cluster_id))
    return {reason::wrong_cluster, "the order is for another cluster"};
  if (!l.rules.serves(order.node_id))
    return {reason::wrong_node, "the order is for a node that this launcher does not serve"};
  if (!auth::same_bytes(order.instance, l.instance))
    return {reason::wrong_instance,
            "the order is for another start of this launcher; sign a new one for this instance"};
  const auto now = time_of(order);
  if (now > order.expires_ns + skew_ns)
    return {reason::expired, "the order has expired"};
  if (now < order.issued_ns - skew_ns)
    return {reason::expired, "the order is issued in the future; check the clocks"};
  return {};
}

verdict check_identity(const launcher& l, const auth::order_view& order) {
  if (l.rules.is_private()) {
    if (order.uid != l.own_uid)
      return {reason::identity, "this private launcher runs jobs of its own user only"};
    return {};
  }
  if (order.uid == 0 || order.gid == 0)
    return {reason::identity, "nothing is ever run as uid 0 or gid 0"};
  if (order.uid < l.rules.uid_min)
    return {reason::identity, "the order's uid is below the lowest that may run jobs here"};
  for (std::size_t i = 0; i < order.group_count; ++i)
    if (order.group(i) == 0)
      return {reason::identity, "group 0 is never given to a job"};
  return {};
}

verdict check_spec(const auth::order_view& order, const batch& from, std::uint32_t index) {
  if (index >= from.spec_count)
    return {reason::malformed, "the order names a spec that the batch does not have"};
  auto& spec = specs_of_batch[index];
  if (!spec.is_computed) {
    auth::exec_spec_view view;
    if (auto bad = auth::decode_exec_spec(spec.bytes, view))
      return {reason::malformed, bad.text};
    spec.computed = auth::exec_spec_digest(spec.bytes);
    spec.is_computed = true;
  }
  if (!auth::same_bytes(order.spec_digest, spec.computed))
    return {reason::wrong_spec, "the arguments, environment, directory, files or script are not "
                                "those that were signed"};
  return {};
}

verdict check_repeat(launcher& l, const auth::order_view& order, std::uint32_t group_index) {
  if (group_index != none) {
    const auto& g = l.groups[group_index];
    if (g.uid != order.uid || !auth::same_bytes(g.spec_digest, order.spec_digest))
      return {reason::repeated, "another order of this incarnation and step was for another user "
                                "or spec"};
  }
  auto records_needed = std::uint64_t{order.element_count} * 2 + 2;
  if (outstanding_records(l) + records_needed > records_max)
    return {reason::table_full, "the table of exits is full; acknowledge some first"};
  if (l.orders.left() < 2 || l.chunks.left() < 2 || l.groups.left() < 2 || l.intervals.left() < 2 ||
      l.specs.left() < 2)
    return {reason::table_full, "a table of the launcher is full; forget finished groups first"};
  return {};
}

verdict keep_order(launcher& l, byte_view bytes, std::uint32_t spec_index, std::uint32_t& index) {
  auto& from = specs_of_batch[spec_index];
  auto spec = find_spec(l, from.computed);
  if (spec == none)
    spec = keep_spec(l, from.bytes, from.computed);
  if (spec == none)
    return {reason::table_full, "there is no memory for another spec; try again later"};
  index = none;
  auto* data = l.retained_bytes + bytes.size() > retained_bytes_max
                   ? nullptr
                   : static_cast<std::uint8_t*>(std::malloc(bytes.size()));
  char* strings = nullptr;
  auth::order_view view;
  if (data != nullptr) {
    std::memcpy(data, bytes.data(), bytes.size());
    (void)auth::decode_order({data, bytes.size()}, view).text;
    strings = prepare_order_strings(view, *l.specs[spec].prepared);
  }
  if (strings == nullptr || (index = l.orders.take()) == none) {
    std::free(data);
    std::free(strings);
    if (l.specs[spec].references == 0)
      release_spec(l, spec);
    return {reason::table_full, "there is no memory for another order; try again later"};
  }
  auto& entry = l.orders[index];
  entry.data = data;
  entry.bytes = static_cast<std::uint32_t>(bytes.size());
  entry.strings = strings;
  entry.view = view;
  entry.spec = spec;
  ++l.specs[spec].references;
  l.retained_bytes += bytes.size();
  return {};
}

verdict admit_order(launcher& l, const batch& from, byte_view bytes, byte_view seal,
                    std::uint32_t spec_index, auth::order_view& order, bool& decoded,
                    std::uint32_t& group_index) {
  auto now = utc_now();
  if (auto bad = auth::decode_order(bytes, order))
    return {reason::malformed, bad.text};
  decoded = true;
  // First of all: an order that came again, after a connection was lost, is one that runs. Any
  // other reason would say that it does not.
  group_index = find_group(l, {order.job, order.incarnation, order.step}, order.node_id);
  if (group_index != none && seen_before(l, l.groups[group_index], order.element_first,
                                         order.element_first + (order.element_count - 1)))
    return {reason::repeated,
            "an element of this job, incarnation and step has been ordered before"};
  if (l.stopping)
    return {reason::busy, "this launcher is shutting down"};
  if (auto bad = check_signature(l, bytes, seal, now))
    return bad;
  if (auto bad = check_scope(l, order))
    return bad;
  if (auto bad = check_identity(l, order))
    return bad;
  if (auto bad = check_spec(order, from, spec_index))
    return bad;
  if (auto bad = check_repeat(l, order, group_index))
    return bad;
  std::uint32_t index = none;
  if (auto bad = keep_order(l, bytes, spec_index, index))
    return bad;
  if (group_index == none)
    group_index = make_group(l, order);
  // check_repeat found room in both tables.
  (void)remember_seen(l, l.groups[group_index], order.element_first,
                      order.element_first + (order.element_count - 1));
  append_chunk(l, group_index, index);
  return {};
}

/// What became of one order of a batch.
struct outcome {
  verdict bad;
  std::uint32_t group_index;
  launch::group_key key;
  std::uint32_t element_first, element_count;
};

outcome outcomes[launch::batch_orders_max];

void judge(launcher& l, batch& from, outcome& out) {
  auto order_length = from.orders.take<std::uint32_t>();
  auto seal_length = from.orders.take<std::uint32_t>();
  auto spec_index = from.orders.take<std::uint32_t>();
  auto bytes = from.orders.take_bytes(order_length);
  auto seal = from.orders.take_bytes(seal_length);
  auth::order_view order;
  bool decoded = false;
  out = {};
  out.group_index = none;
  out.bad = admit_order(l, from, bytes, seal, spec_index, order, decoded, out.group_index);
  if (decoded) {
    out.key = {order.job, order.incarnation, order.step};
    out.element_first = order.element_first;
    out.element_count = order.element_count;
  }
  chain_order(l, decoded ? &order : nullptr, bytes, static_cast<std::uint32_t>(out.bad.why));
}

/// Judged all, then written to the journal, and only then answered and started.
void admit_orders(launcher& l, batch& from) {
  message<launch::batch_done> done;
  done.body.tag = from.tag;
  for (std::uint32_t i = 0; i < from.order_count; ++i)
    judge(l, from, outcomes[i]);
  flush_chain(l);
  for (std::uint32_t i = 0; i < from.order_count; ++i) {
    const auto& out = outcomes[i];
    if (!out.bad) {
      ++done.body.accepted;
      refill(l, out.group_index);
      continue;
    }
    ++done.body.refused;
    launch::refusal what;
    what.tag = from.tag;
    what.order = i;
    what.why = out.bad.why;
    what.key = out.key;
    what.element_first = out.element_first;
    what.element_count = out.element_count;
    refuse(l, what, out.bad.text);
  }
  send_datagram(l, &done, sizeof done, no_stream);
}

} // namespace

void admit_batch(launcher& l, const launch::launch_batch& request, int memfd) {
  launch::refusal what;
  what.tag = request.tag;
  std::size_t size = 0;
  if (auto bad = check_memfd(memfd, request.bytes, size)) {
    what.why = bad.why;
    refuse(l, what, bad.text);
    return;
  }
  auto* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, memfd, 0);
  if (mapped == MAP_FAILED) {
    what.why = reason::system;
    refuse(l, what, "the batch's memfd cannot be mapped");
    return;
  }
  // A child has no use for it.
  (void)::madvise(mapped, size, MADV_DONTFORK);
  batch from{};
  from.tag = request.tag;
  if (auto bad = check_frame({static_cast<const std::uint8_t*>(mapped), size}, from)) {
    what.why = bad.why;
    refuse(l, what, bad.text);
  } else {
    admit_orders(l, from);
  }
  ::munmap(mapped, size);
}

} // namespace troupe::launcher
