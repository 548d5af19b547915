// SPDX-License-Identifier: Apache-2.0
#include "auth/authority.hpp"

namespace troupe::auth {

namespace {

/// "job 812 asks for 5 nodes, its warrant allows 4"
tl::unexpected<refusal> above(const order_view& order, const char* what, std::uint64_t asked,
                              std::uint64_t allowed) {
  return refuse(reason::above_ceiling, "an order of job " + std::to_string(order.job) + " has " +
                                           what + " " + std::to_string(asked) +
                                           ", its warrant allows " + std::to_string(allowed));
}

tl::unexpected<refusal> differs(const order_view& order, reason why, const char* what) {
  return refuse(why, "an order of job " + std::to_string(order.job) + " has " + what +
                         " than its warrant");
}

checked<void> check_identity(const order_view& order, const warrant& allowed) {
  if (order.job != allowed.job)
    return differs(order, reason::outside_resource, "another job number");
  if (!same_bytes(order.cluster_id, allowed.cluster))
    return differs(order, reason::wrong_cluster, "another cluster");
  if (order.uid != allowed.uid || order.gid != allowed.gid)
    return differs(order, reason::uid_mismatch, "another uid or gid");
  bool same_groups = order.group_count == allowed.groups.size();
  for (std::size_t i = 0; same_groups && i < allowed.groups.size(); ++i)
    same_groups = order.group(i) == allowed.groups[i];
  if (!same_groups)
    return differs(order, reason::uid_mismatch, "other groups");
  if (!same_bytes(order.spec_digest, allowed.exec_digest))
    return differs(order, reason::digest_mismatch, "another program, environment or file");
  return {};
}

checked<void> check_elements(const order_view& order, const warrant& allowed) {
  if (order.is_array() != (allowed.elements.first != no_element))
    return differs(order, reason::above_ceiling, "elements of another kind");
  auto last = order.element_first + (order.element_count - 1);
  if (order.is_array() &&
      (order.element_first < allowed.elements.first || last > allowed.elements.last))
    return refuse(reason::above_ceiling,
                  "an order of job " + std::to_string(order.job) + " has elements " +
                      std::to_string(order.element_first) + "-" + std::to_string(last) +
                      ", its warrant allows " + std::to_string(allowed.elements.first) + "-" +
                      std::to_string(allowed.elements.last));
  if (order.step != allowed.step)
    return refuse(reason::outside_resource, "an order of job " + std::to_string(order.job) +
                                                " is for step " + std::to_string(order.step) +
                                                ", its warrant is of step " +
                                                std::to_string(allowed.step));
  if (order.incarnation == 0 || order.incarnation > allowed.incarnations_max ||
      (order.step != 0 && order.incarnation != allowed.incarnations_max))
    return above(order, "incarnation (counted from 1)", order.incarnation,
                 allowed.incarnations_max);
  return {};
}

checked<void> check_ceilings(const order_view& order, const ceilings& most) {
  if (order.node_count > most.nodes)
    return above(order, "nodes", order.node_count, most.nodes);
  auto cores = std::uint64_t{order.ranks_total} * order.cores_per_rank;
  if (cores > most.cores)
    return above(order, "cores", cores, most.cores);
  if (most.memory_bytes != 0 && (order.memory_bytes == 0 || order.memory_bytes > most.memory_bytes))
    return above(order, "bytes of memory (0 = no limit)", order.memory_bytes, most.memory_bytes);
  if (most.time_s != 0 && (order.time_limit_s == 0 || order.time_limit_s > most.time_s))
    return above(order, "seconds of time (0 = no limit)", order.time_limit_s, most.time_s);
  return {};
}

} // namespace

checked<void> check_order_against_warrant(const order_view& order, const warrant& allowed) {
  if (auto fit = check_identity(order, allowed); !fit)
    return fit;
  if (auto fit = check_elements(order, allowed); !fit)
    return fit;
  return check_ceilings(order, allowed.most);
}

} // namespace troupe::auth
