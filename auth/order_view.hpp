// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/domain.hpp"
#include "auth/view.hpp"

// The launch order: what a launcher obeys, once its seal verifies. Freestanding. Little-endian, in
// the order of the fields of `order_view`; variable parts last; exact length.

namespace troupe::auth {

inline constexpr std::uint32_t no_element = 0xffffffff;
inline constexpr std::int64_t order_lifetime_ns_max = 60'000'000'000;

inline constexpr std::uint32_t order_elements_max = 65536;
inline constexpr std::uint32_t order_window_max = 4096;
inline constexpr std::uint32_t order_ranks_here_max = 4096;
inline constexpr std::uint32_t order_groups_max = 1024;
inline constexpr std::uint32_t order_cpu_words_max = 128;          ///< 8,192 processing units
inline constexpr std::uint64_t order_cpuset_words_max = 64 * 1024; ///< window x ranks x words
inline constexpr unsigned order_has_gpus = 1;        ///< flag: GPU masks follow the cpusets
inline constexpr unsigned order_has_ranks = 2;       ///< flag: then the numbers of the ranks here
inline constexpr unsigned order_has_node_tasks = 4;  ///< flag: then how many tasks each node has
inline constexpr unsigned order_has_first_start = 8; ///< flag: it follows the fixed part
inline constexpr unsigned order_flags =
    order_has_gpus | order_has_ranks | order_has_node_tasks | order_has_first_start;
inline constexpr std::uint32_t order_nodes_max = 4096; ///< whose tasks are told
inline constexpr std::size_t order_name_bytes_max = 255;
inline constexpr std::size_t order_path_bytes_max = 4095;
inline constexpr std::size_t order_nodelist_bytes_max = 32767;

/// A decoded order; spans point into the bytes it was decoded from.
struct order_view {
  std::uint8_t bind_mode = 0; ///< 0 none (cpusets only say which slots there are), 1 core, 2 socket
  byte_view cluster_id;       ///< 16 bytes
  std::uint32_t node_id = 0;
  byte_view instance; ///< 16 bytes
  std::uint64_t job = 0;
  std::uint32_t incarnation = 0;
  std::uint32_t step = 0;
  std::uint32_t generation = 0;
  std::uint32_t element_first = no_element;
  std::uint32_t element_count = 1;
  std::uint32_t window = 1;
  std::int64_t issued_ns = 0; ///< boot clock of the machine of trouped and launcher
  std::int64_t expires_ns = 0;
  std::int64_t first_start_ns = 0; ///< of the job; 0: not told
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rank_first = 0;
  std::uint32_t ranks_here = 1;
  std::uint32_t ranks_total = 1;
  std::uint32_t node_index = 0;
  std::uint32_t node_count = 1;
  std::uint32_t cores_per_rank = 1;
  std::uint64_t memory_bytes = 0;
  std::uint32_t time_limit_s = 0;
  std::uint32_t grace_s = 0;
  std::uint16_t group_count = 0;
  std::uint16_t cpu_words = 0;
  byte_view groups;     ///< group_count x u32, ascending
  byte_view cpusets;    ///< window x ranks_here x cpu_words x u64, slot-major
  byte_view gpus;       ///< window x ranks_here x u64, a bit per GPU of the machine; or empty
  byte_view ranks;      ///< ranks_here x u32, ascending; empty where they are rank_first + i
  byte_view node_tasks; ///< node_count x u32, for a script that starts MPI programs; or empty
  byte_view spec_digest;
  std::string_view user;
  std::string_view home;
  std::string_view shell;
  std::string_view node_name;
  std::string_view nodelist;
  std::string_view job_name;
  std::string_view submit_dir;

  /// The number of the rank that is `local` of those here.
  std::uint32_t rank_of(std::uint32_t local) const {
    return ranks.empty() ? rank_first + local
                         : load_le<std::uint32_t>(&ranks[std::size_t{local} * 4]);
  }
  std::uint32_t tasks_on(std::uint32_t node) const {
    return load_le<std::uint32_t>(&node_tasks[std::size_t{node} * 4]);
  }

  bool is_array() const { return element_first != no_element; }
  std::uint32_t group(std::size_t i) const { return load_le<std::uint32_t>(&groups[i * 4]); }

  /// Word `word` of the cpuset of rank `local_rank` of the element in `slot`.
  std::uint64_t cpuset_word(std::uint32_t slot, std::uint32_t local_rank,
                            std::uint32_t word) const {
    auto at = (std::size_t{slot} * ranks_here + local_rank) * cpu_words + word;
    return load_le<std::uint64_t>(&cpusets[at * 8]);
  }

  /// The GPUs of rank `local_rank` of the element in `slot`.
  std::uint64_t gpu_mask(std::uint32_t slot, std::uint32_t local_rank) const {
    return gpus.empty()
               ? 0
               : load_le<std::uint64_t>(&gpus[(std::size_t{slot} * ranks_here + local_rank) * 8]);
  }
};

namespace order_detail {

inline void take_fixed(byte_reader& in, order_view& out) {
  out.cluster_id = in.take_bytes(16);
  out.node_id = in.take<std::uint32_t>();
  out.instance = in.take_bytes(16);
  out.job = in.take<std::uint64_t>();
  for (auto* field : {&out.incarnation, &out.step, &out.generation, &out.element_first,
                      &out.element_count, &out.window})
    *field = in.take<std::uint32_t>();
  out.issued_ns = in.take<std::int64_t>();
  out.expires_ns = in.take<std::int64_t>();
  for (auto* field : {&out.uid, &out.gid, &out.rank_first, &out.ranks_here, &out.ranks_total,
                      &out.node_index, &out.node_count, &out.cores_per_rank})
    *field = in.take<std::uint32_t>();
  out.memory_bytes = in.take<std::uint64_t>();
  out.time_limit_s = in.take<std::uint32_t>();
  out.grace_s = in.take<std::uint32_t>();
  out.group_count = in.take<std::uint16_t>();
  out.cpu_words = in.take<std::uint16_t>();
}

inline problem take_first_start(byte_reader& in, order_view& out) {
  out.first_start_ns = in.take<std::int64_t>();
  if (in.failed())
    return {"the order ends inside its job's first start"};
  if (out.first_start_ns <= 0)
    return {"the order says that it has its job's first start, but names none"};
  return {};
}

inline problem check_numbers(const order_view& o) {
  if (o.job == 0)
    return {"the order names job 0"};
  if (o.element_count == 0 || o.element_count > order_elements_max || o.window == 0 ||
      o.window > order_window_max)
    return {"the order's element count or window is out of its bounds (1-65,536, 1-4,096)"};
  if (o.is_array() ? o.element_count > no_element - o.element_first : o.element_count != 1)
    return {"the order's elements are out of range"};
  if (o.ranks_here == 0 || o.ranks_here > order_ranks_here_max)
    return {"the order does not have between 1 and 4,096 ranks for this node"};
  if (o.ranks_total < o.ranks_here || o.rank_first > o.ranks_total - o.ranks_here)
    return {"the order's ranks are not within its total"};
  if (o.node_index >= o.node_count)
    return {"the order's node index is not below its node count"};
  if (o.uid == 0xffffffff || o.gid == 0xffffffff)
    return {"the order's uid or gid is the reserved value 4294967295"};
  if (o.issued_ns < 0 || o.expires_ns <= o.issued_ns ||
      o.expires_ns - o.issued_ns > order_lifetime_ns_max)
    return {"the order does not expire within 60 s after it was issued"};
  if (o.bind_mode > 2)
    return {"the order's bind mode is not 0, 1 or 2"};
  return {};
}

inline problem take_gpus(byte_reader& in, order_view& out) {
  const auto masks = std::uint64_t{out.window} * out.ranks_here;
  if (masks > order_cpuset_words_max)
    return {"the order has GPUs for more than 65,536 ranks"};
  out.gpus = in.take_bytes(static_cast<std::size_t>(masks) * 8);
  if (in.failed())
    return {"the order ends inside its GPUs"};
  for (auto byte : out.gpus)
    if (byte != 0)
      return {};
  return {"the order says that it has GPUs, but names none"};
}

/// One rank order and no other: from `rank_first`, ascending, below `ranks_total`.
inline problem take_ranks(byte_reader& in, order_view& out) {
  out.ranks = in.take_bytes(std::size_t{out.ranks_here} * 4);
  if (in.failed())
    return {"the order ends inside its ranks"};
  for (std::uint32_t i = 0; i < out.ranks_here; ++i)
    if (out.rank_of(i) >= out.ranks_total || (i > 0 && out.rank_of(i) <= out.rank_of(i - 1)))
      return {"the order's ranks are not ascending below its total"};
  if (out.rank_of(0) != out.rank_first)
    return {"the order's first rank is not the first of its ranks"};
  return {};
}

inline problem take_node_tasks(byte_reader& in, order_view& out) {
  if (out.node_count > order_nodes_max)
    return {"the order has tasks for more than 4,096 nodes"};
  out.node_tasks = in.take_bytes(std::size_t{out.node_count} * 4);
  if (in.failed())
    return {"the order ends inside its nodes' tasks"};
  return {};
}

inline problem take_lists(byte_reader& in, order_view& out, unsigned flags) {
  if (out.group_count > order_groups_max)
    return {"the order has more than 1,024 supplementary groups"};
  out.groups = in.take_bytes(std::size_t{out.group_count} * 4);
  if (in.failed())
    return {"the order ends inside its groups"};
  for (std::size_t i = 0; i < out.group_count; ++i)
    if (out.group(i) == 0xffffffff || (i > 0 && out.group(i) <= out.group(i - 1)))
      return {"the order's groups are not sorted without duplicates"};
  auto words = std::uint64_t{out.window} * out.ranks_here * out.cpu_words;
  if (out.cpu_words > order_cpu_words_max || words > order_cpuset_words_max)
    return {"the order's cpusets are larger than 65,536 words"};
  out.cpusets = in.take_bytes(static_cast<std::size_t>(words) * 8);
  if ((flags & order_has_gpus) != 0 && !in.failed())
    if (auto bad = take_gpus(in, out))
      return bad;
  if ((flags & order_has_ranks) != 0 && !in.failed())
    if (auto bad = take_ranks(in, out))
      return bad;
  if ((flags & order_has_node_tasks) != 0 && !in.failed())
    if (auto bad = take_node_tasks(in, out))
      return bad;
  out.spec_digest = in.take_bytes(32);
  if (in.failed())
    return {"the order ends inside its cpusets or digest"};
  return {};
}

inline problem take_text(byte_reader& in, std::size_t bytes_max, std::string_view& out) {
  auto bytes = in.take_prefixed<std::uint16_t>();
  if (in.failed())
    return {"the order ends inside a string"};
  if (bytes.size() > bytes_max || has_nul(bytes))
    return {"a string of the order is longer than its limit or contains a NUL byte"};
  out = as_text(bytes);
  return {};
}

inline problem take_texts(byte_reader& in, order_view& out) {
  struct field {
    std::string_view* text;
    std::size_t bytes_max;
  };
  for (auto [text, bytes_max] :
       {field{&out.user, order_name_bytes_max}, field{&out.home, order_path_bytes_max},
        field{&out.shell, order_path_bytes_max}, field{&out.node_name, order_name_bytes_max},
        field{&out.nodelist, order_nodelist_bytes_max}, field{&out.job_name, order_name_bytes_max},
        field{&out.submit_dir, order_path_bytes_max}})
    if (auto bad = take_text(in, bytes_max, *text))
      return bad;
  return {};
}

} // namespace order_detail

/// Accepts exactly the canonical encoding of an order within its bounds.
inline problem decode_order(byte_view bytes, order_view& out) {
  byte_reader in{bytes};
  auto version = in.take<std::uint8_t>();
  out.bind_mode = in.take<std::uint8_t>();
  auto flags = in.take<std::uint16_t>();
  order_detail::take_fixed(in, out);
  if (in.failed())
    return {"the order is shorter than its fixed part"};
  if (version != 1)
    return {"the order's version is not 1"};
  if ((flags & ~order_flags) != 0)
    return {"a reserved field of the order is not zero"};
  if ((flags & order_has_first_start) != 0)
    if (auto bad = order_detail::take_first_start(in, out))
      return bad;
  if (auto bad = order_detail::check_numbers(out))
    return bad;
  if (auto bad = order_detail::take_lists(in, out, flags))
    return bad;
  if (auto bad = order_detail::take_texts(in, out))
    return bad;
  if (!in.at_end())
    return {"the order has bytes after its last string"};
  return {};
}

} // namespace troupe::auth
