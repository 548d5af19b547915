// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/order_view.hpp"
#include "base/clock.hpp"
#include "base/error.hpp"

#include <string>
#include <vector>

namespace troupe::auth {

/// What one launcher is told to run: a chunk of elements of one step on one node. Layout and bounds
/// are those of auth/order_view.hpp.
struct launch_order {
  std::uint8_t bind_mode = 0;
  fixed_bytes<16> cluster_id{};
  std::uint32_t node_id = 0;
  fixed_bytes<16> instance{};
  std::uint64_t job = 0;
  std::uint32_t incarnation = 0;
  std::uint32_t step = 0;
  std::uint32_t generation = 0;
  std::uint32_t element_first = no_element;
  std::uint32_t element_count = 1;
  std::uint32_t window = 1;
  boot_ns issued_ns = 0; ///< of the machine of trouped and launcher
  boot_ns expires_ns = 0;
  /// When the job first started; 0: its elements and ranks share no file that would ask for it.
  utc_ns first_start_ns = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rank_first = 0;
  std::uint32_t ranks_here = 1;
  std::uint32_t ranks_total = 1;
  std::uint32_t node_index = 0;
  std::uint32_t node_count = 1;
  std::uint32_t cores_per_rank = 1;
  std::uint64_t memory_bytes = 0; ///< per element on this node, 0 = no limit
  std::uint32_t time_limit_s = 0; ///< 0 = none
  std::uint32_t grace_s = 0;
  std::vector<std::uint32_t> groups; ///< sorted, unique
  std::uint16_t cpu_words = 0;       ///< u64 words of one cpuset, 0 = no binding
  std::vector<std::uint64_t>
      cpusets;                      ///< window x ranks_here x cpu_words, slot-major, PU os indexes
  std::vector<std::uint64_t> gpus;  ///< window x ranks_here, a bit per GPU of the machine; or empty
  std::vector<std::uint32_t> ranks; ///< ranks_here, ascending; empty: rank_first + i
  std::vector<std::uint32_t> node_tasks; ///< node_count, of a script that starts MPI programs
  digest spec_digest{};
  std::string user;
  std::string home;
  std::string shell;
  std::string node_name;
  std::string nodelist;
  std::string job_name;
  std::string submit_dir;

  bool operator==(const launch_order&) const = default;
};

/// The canonical bytes; errc::invalid with a sentence when a bound or a rule is broken.
expected<std::vector<std::uint8_t>> encode_order(const launch_order& order);

expected<launch_order> decode_order(byte_view bytes);

} // namespace troupe::auth
