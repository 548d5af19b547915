// SPDX-License-Identifier: Apache-2.0
#include "auth/order_book.hpp"

#include "auth/keys.hpp"

#include <string>
#include <vector>

namespace troupe::auth {

namespace {

struct element_range {
  std::uint32_t first;
  std::uint32_t last;
};

element_range range_of(const order_view& order) {
  return {order.element_first, order.element_first + (order.element_count - 1)};
}

// An order is the same order when only its times differ: issued again because the first was lost.
digest fingerprint_of(byte_view bytes) {
  // Version to flags, cluster, node, instance, job, and six u32 stand before the two times.
  constexpr std::size_t times_at = 4 + 16 + 4 + 16 + 8 + 6 * 4;
  std::vector<std::uint8_t> timeless(bytes.begin(), bytes.end());
  std::memset(timeless.data() + times_at, 0, 16);
  return keyed_digest("troupe/same-order/v1", timeless);
}

std::string text_of(const order_view& order) {
  auto range = range_of(order);
  auto text = "job " + std::to_string(order.job);
  if (order.is_array())
    text += ", elements " + std::to_string(range.first) + "-" + std::to_string(range.last);
  return text + ", incarnation " + std::to_string(order.incarnation) + ", step " +
         std::to_string(order.step) + ", node " + std::to_string(order.node_id);
}

/// The first known range that ends at or after `first`, or end().
template <class Ranges>
auto first_reaching(Ranges& known, std::uint32_t first) {
  auto it = known.upper_bound(first);
  if (it != known.begin() && std::prev(it)->second.last >= first)
    --it;
  return it;
}

} // namespace

checked<void> order_book::check(const order_view& order, byte_view bytes) const {
  auto job = jobs_.find(order.job);
  auto range = range_of(order);
  if (job != jobs_.end()) {
    auto known = job->second.find({order.incarnation, order.step, order.node_id});
    if (known != job->second.end()) {
      auto hit = first_reaching(known->second, range.first);
      if (hit != known->second.end() && hit->first <= range.last) {
        if (hit->first == range.first && hit->second.last == range.last &&
            hit->second.fingerprint == fingerprint_of(bytes))
          return {};
        return refuse(reason::duplicate_order,
                      "another order was signed already for " + text_of(order));
      }
    }
  }
  if (intervals_ >= intervals_max)
    return refuse(reason::too_many,
                  "the table of signed orders is full (262,144); nothing is signed until jobs end");
  return {};
}

bool order_book::enter(const order_view& order, byte_view bytes) {
  auto& known = jobs_[order.job][{order.incarnation, order.step, order.node_id}];
  auto range = range_of(order);
  if (!known.try_emplace(range.first, signed_range{range.last, fingerprint_of(bytes)}).second)
    return false;
  ++intervals_;
  if (known.size() > intervals_apart_max)
    join_oldest(known);
  return true;
}

void order_book::join_oldest(ranges& known) {
  auto first = known.begin();
  auto second = std::next(first);
  if (first->second.last + 1 != second->first)
    return;
  first->second = {second->second.last, digest{}};
  known.erase(second);
  --intervals_;
}

void order_book::release_job(std::uint64_t job) {
  auto found = jobs_.find(job);
  if (found == jobs_.end())
    return;
  for (const auto& [where, known] : found->second)
    intervals_ -= known.size();
  jobs_.erase(found);
}

void order_book::release_elements(std::uint64_t job, std::uint32_t incarnation, std::uint32_t step,
                                  std::uint32_t node, std::uint32_t first, std::uint32_t last) {
  auto found = jobs_.find(job);
  if (found == jobs_.end())
    return;
  auto at = found->second.find({incarnation, step, node});
  if (at == found->second.end())
    return;
  auto& known = at->second;
  auto it = first_reaching(known, first);
  while (it != known.end() && it->first <= last) {
    auto [from, range] = *it;
    it = known.erase(it);
    --intervals_;
    // What remains on either side keeps its elements, but is no whole order any more.
    if (from < first) {
      known[from] = {first - 1, digest{}};
      ++intervals_;
    }
    if (range.last > last) {
      known[last + 1] = {range.last, digest{}};
      ++intervals_;
    }
  }
}

} // namespace troupe::auth
