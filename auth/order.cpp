// SPDX-License-Identifier: Apache-2.0
#include "auth/order.hpp"

#include <algorithm>

namespace troupe::auth {

namespace {

class writer {
public:
  template <class T>
  void number(T value) {
    std::uint8_t bytes[sizeof(T)];
    store_le(bytes, value);
    out_.insert(out_.end(), bytes, bytes + sizeof(T));
  }
  void bytes(byte_view value) { out_.insert(out_.end(), value.begin(), value.end()); }
  void text(std::string_view value) {
    number(static_cast<std::uint16_t>(value.size()));
    bytes(as_bytes(value));
  }
  std::vector<std::uint8_t> take() { return std::move(out_); }

private:
  std::vector<std::uint8_t> out_;
};

std::uint16_t flags_of(const launch_order& order) {
  unsigned flags = 0;
  if (!order.gpus.empty())
    flags |= order_has_gpus;
  if (!order.ranks.empty())
    flags |= order_has_ranks;
  if (!order.node_tasks.empty())
    flags |= order_has_node_tasks;
  if (order.first_start_ns != 0)
    flags |= order_has_first_start;
  return static_cast<std::uint16_t>(flags);
}

void write_fixed(writer& out, const launch_order& order) {
  out.number<std::uint8_t>(1);
  out.number(order.bind_mode);
  out.number(flags_of(order));
  out.bytes(order.cluster_id);
  out.number(order.node_id);
  out.bytes(order.instance);
  out.number(order.job);
  for (auto field : {order.incarnation, order.step, order.generation, order.element_first,
                     order.element_count, order.window})
    out.number(field);
  out.number(order.issued_ns);
  out.number(order.expires_ns);
  for (auto field : {order.uid, order.gid, order.rank_first, order.ranks_here, order.ranks_total,
                     order.node_index, order.node_count, order.cores_per_rank})
    out.number(field);
  out.number(order.memory_bytes);
  out.number(order.time_limit_s);
  out.number(order.grace_s);
  out.number(static_cast<std::uint16_t>(order.groups.size()));
  out.number(order.cpu_words);
  if (order.first_start_ns != 0)
    out.number(order.first_start_ns);
}

/// Lengths that would not survive their length fields; all others are checked by decoding.
expected<void> check_lengths(const launch_order& order) {
  for (const auto* text : {&order.user, &order.home, &order.shell, &order.node_name,
                           &order.nodelist, &order.job_name, &order.submit_dir})
    if (text->size() > order_nodelist_bytes_max)
      return fail(errc::invalid, "a string of the order has " + std::to_string(text->size()) +
                                     " bytes, the limit is 32,767");
  if (order.groups.size() > order_groups_max)
    return fail(errc::invalid, "the order has " + std::to_string(order.groups.size()) +
                                   " supplementary groups, the limit is 1,024");
  auto words = std::uint64_t{order.window} * order.ranks_here * order.cpu_words;
  auto ranks = std::uint64_t{order.window} * order.ranks_here;
  if (!order.gpus.empty() && order.gpus.size() != ranks)
    return fail(errc::invalid, "the order has GPUs for " + std::to_string(order.gpus.size()) +
                                   " ranks, its window and ranks need " + std::to_string(ranks));
  if (!order.ranks.empty() && order.ranks.size() != order.ranks_here)
    return fail(errc::invalid, "the order numbers " + std::to_string(order.ranks.size()) +
                                   " ranks, and has " + std::to_string(order.ranks_here));
  if (!order.node_tasks.empty() && order.node_tasks.size() != order.node_count)
    return fail(errc::invalid, "the order tells the tasks of " +
                                   std::to_string(order.node_tasks.size()) + " nodes, and has " +
                                   std::to_string(order.node_count));
  if (order.cpusets.size() != words)
    return fail(errc::invalid, "the order has " + std::to_string(order.cpusets.size()) +
                                   " cpuset words, its window, ranks and width need " +
                                   std::to_string(words));
  return {};
}

} // namespace

expected<std::vector<std::uint8_t>> encode_order(const launch_order& order) {
  if (auto checked = check_lengths(order); !checked)
    return tl::unexpected<error>{checked.error()};
  writer out;
  write_fixed(out, order);
  for (auto group : order.groups)
    out.number(group);
  for (auto word : order.cpusets)
    out.number(word);
  for (auto mask : order.gpus)
    out.number(mask);
  for (auto rank : order.ranks)
    out.number(rank);
  for (auto tasks : order.node_tasks)
    out.number(tasks);
  out.bytes(order.spec_digest);
  for (const auto* text : {&order.user, &order.home, &order.shell, &order.node_name,
                           &order.nodelist, &order.job_name, &order.submit_dir})
    out.text(*text);
  auto bytes = out.take();
  order_view view;
  if (auto bad = decode_order(bytes, view))
    return fail(errc::invalid, bad.text);
  return bytes;
}

expected<launch_order> decode_order(byte_view bytes) {
  order_view view;
  if (auto bad = decode_order(bytes, view))
    return fail(errc::invalid, bad.text);
  launch_order order;
  order.bind_mode = view.bind_mode;
  std::copy(view.cluster_id.begin(), view.cluster_id.end(), order.cluster_id.begin());
  order.node_id = view.node_id;
  std::copy(view.instance.begin(), view.instance.end(), order.instance.begin());
  order.job = view.job;
  order.incarnation = view.incarnation;
  order.step = view.step;
  order.generation = view.generation;
  order.element_first = view.element_first;
  order.element_count = view.element_count;
  order.window = view.window;
  order.issued_ns = view.issued_ns;
  order.expires_ns = view.expires_ns;
  order.first_start_ns = view.first_start_ns;
  order.uid = view.uid;
  order.gid = view.gid;
  order.rank_first = view.rank_first;
  order.ranks_here = view.ranks_here;
  order.ranks_total = view.ranks_total;
  order.node_index = view.node_index;
  order.node_count = view.node_count;
  order.cores_per_rank = view.cores_per_rank;
  order.memory_bytes = view.memory_bytes;
  order.time_limit_s = view.time_limit_s;
  order.grace_s = view.grace_s;
  for (std::size_t i = 0; i < view.group_count; ++i)
    order.groups.push_back(view.group(i));
  order.cpu_words = view.cpu_words;
  for (std::size_t i = 0; i < view.cpusets.size() / 8; ++i)
    order.cpusets.push_back(load_le<std::uint64_t>(&view.cpusets[i * 8]));
  for (std::size_t i = 0; i < view.gpus.size() / 8; ++i)
    order.gpus.push_back(load_le<std::uint64_t>(&view.gpus[i * 8]));
  for (std::size_t i = 0; i < view.ranks.size() / 4; ++i)
    order.ranks.push_back(load_le<std::uint32_t>(&view.ranks[i * 4]));
  for (std::size_t i = 0; i < view.node_tasks.size() / 4; ++i)
    order.node_tasks.push_back(load_le<std::uint32_t>(&view.node_tasks[i * 4]));
  std::copy(view.spec_digest.begin(), view.spec_digest.end(), order.spec_digest.begin());
  order.user = view.user;
  order.home = view.home;
  order.shell = view.shell;
  order.node_name = view.node_name;
  order.nodelist = view.nodelist;
  order.job_name = view.job_name;
  order.submit_dir = view.submit_dir;
  return order;
}

} // namespace troupe::auth
