// SPDX-License-Identifier: Apache-2.0
#include "actors/launcher.hpp"
#include "auth/order.hpp"
#include "runtime/launch/passing.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <utility>

// Purpose: get orders to the launcher, whatever the kernel or the launcher does not give just now.
// Input:   sealed orders, and what is asked of their groups.
// Action:  batches; what cannot be sent stays and is tried again, 100 ms to 10 s later; what the
//          launcher refuses is told to the job.

namespace troupe::actors {

namespace {

constexpr std::size_t batch_bytes_aim = 4u << 20;
constexpr std::size_t orders_waiting_max = 65536;
constexpr std::size_t forgets_waiting_max = 65536;
constexpr std::size_t requests_waiting_max = 65536;
constexpr std::uint32_t whole_batch = 0xffffffff; ///< a refusal's order

/// A launcher's refusal in the words of the audit chain.
auth::refusal audited(launch::reason reason, const std::string& text) {
  using from = launch::reason;
  auth::refusal why;
  why.code = errc::refused;
  why.text = text;
  switch (reason) {
  case from::unknown_key: why.why = auth::reason::unknown_key; break;
  case from::wrong_cluster: why.why = auth::reason::wrong_cluster; break;
  case from::wrong_node:
  case from::wrong_instance: why.why = auth::reason::wrong_audience; break;
  case from::expired: why.why = auth::reason::expired; break;
  case from::identity: why.why = auth::reason::uid_mismatch; break;
  case from::wrong_spec: why.why = auth::reason::digest_mismatch; break;
  case from::repeated: why.why = auth::reason::duplicate_order; break;
  case from::table_full: why.why = auth::reason::too_many; break;
  case from::signature: why.why = auth::reason::bad_signature; break;
  default: why.why = auth::reason::malformed; break;
  }
  return why;
}

} // namespace

void launcher_state::take(request<launch_orders>& what) {
  for (auto& order : what.msg.orders) {
    waiting_order each{std::move(order), false};
    if (waiting_.size() < orders_waiting_max)
      waiting_.push_back(std::move(each));
    else
      refuse(each, launch::reason::table_full,
             fmt::format("{} orders wait for the launcher already", orders_waiting_max));
  }
  // After what came with it, so that all of it goes together.
  if (connection_ && !waiting_.empty() && !std::exchange(send_due_, true))
    self_->send(self_, request<tick>{world_.timer_cap, tick{}});
}

/// All orders that have gathered. What cannot be sent now stays, and is tried again after a pause.
void launcher_state::send_batch() {
  while (connection_ && !waiting_.empty() && send_one_batch()) {
  }
  if (waiting_.empty() && connection_)
    for (const auto& request : std::exchange(after_orders_, {}))
      check(request(*connection_));
}

/// As many as the launcher takes at once; equal specs travel once. A batch is kept until the
/// launcher says that it has read it. False when nothing could be sent.
bool launcher_state::send_one_batch() {
  std::vector<launch::sealed_order> orders;
  std::vector<byte_view> specs;
  std::size_t size = 0;
  for (const auto& [order, again] : waiting_) {
    if (orders.size() == launch::batch_orders_max || (!orders.empty() && size > batch_bytes_aim))
      break;
    if (specs.empty() || specs.back().size() != order.spec.size() ||
        std::memcmp(specs.back().data(), order.spec.data(), order.spec.size()) != 0) {
      specs.push_back(order.spec);
      size += order.spec.size();
    }
    size += order.order.size() + order.seal.size();
    orders.push_back({order.order, order.seal, static_cast<std::uint32_t>(specs.size() - 1)});
  }
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(orders.size());
  if (auto sent = connection_->launch(next_tag_, orders, specs); !sent) {
    if (sent.error().code == errc::invalid) { // too large, whenever it is tried
      for (auto at = waiting_.begin(); at != end; ++at)
        refuse(*at, launch::reason::malformed, sent.error().text);
      waiting_.erase(waiting_.begin(), end);
      return true;
    }
    const auto pause =
        pause_after(send_tries_++, std::chrono::milliseconds{100}, std::chrono::seconds{10});
    world_.log->warn("launcher: {}; {} orders wait, trying again in {} ms", sent.error().text,
                     waiting_.size(), pause.count());
    if (sent.error().code != errc::unreachable && !std::exchange(send_due_, true))
      tick_later(self_, world_, pause, static_cast<std::uint32_t>(timer::send));
    return false;
  }
  send_tries_ = 0;
  ++batch_count_;
  orders_ += orders.size();
  sent_batch batch{next_tag_++, {}};
  batch.orders.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  batches_.push_back(std::move(batch));
  return true;
}

/// What is asked of a group holds for its orders as well that could not be sent yet.
void launcher_state::send_now_and_after(const group_key& group, held_request request) {
  send_batch();
  if (!connection_)
    return; // who asked compares when there is one, and asks again
  check(request(*connection_));
  const auto waits = std::any_of(waiting_.begin(), waiting_.end(), [&](const waiting_order& each) {
    return each.order.group == group;
  });
  if (!waits)
    return;
  if (after_orders_.size() >= requests_waiting_max)
    return check(fail(errc::exhausted, "too many requests wait for orders that cannot be sent"));
  after_orders_.push_back(std::move(request));
}

/// Without a connection it is remembered: a group that is never forgotten keeps its place in the
/// launcher's table for ever.
void launcher_state::forget(const launch::group_key& group) {
  if (connection_)
    check(connection_->forget(group));
  else if (unforgotten_.size() < forgets_waiting_max)
    unforgotten_.insert(from_launch(group));
}

void launcher_state::take(const launch::batch_done& what) {
  std::erase_if(batches_, [&](const sent_batch& batch) { return batch.tag == what.tag; });
}

/// A request that came too late is no refusal of anything; an order that was not accepted is one.
void launcher_state::take(const launch::refused& what) {
  const auto& why = what.what;
  if (why.tag == 0) {
    const auto level =
        why.why == launch::reason::not_found ? spdlog::level::debug : spdlog::level::warn;
    world_.log->log(level, "launcher: {}: {}", launch::to_string(why.why), what.text);
    return;
  }
  for (const auto& batch : batches_) {
    if (batch.tag != why.tag)
      continue;
    for (std::size_t i = 0; i < batch.orders.size(); ++i)
      if (why.order == whole_batch || why.order == i)
        refuse(batch.orders[i], why.why, what.text);
  }
  if (why.order == whole_batch) // nothing more is said of it
    std::erase_if(batches_, [&](const sent_batch& batch) { return batch.tag == why.tag; });
}

/// The elements of an order that was not accepted never ran.
void launcher_state::refuse(const waiting_order& order, launch::reason why,
                            const std::string& text) {
  if (order.again && why == launch::reason::repeated)
    return; // it had been read before the connection was lost
  world_.log->warn("launcher: refused an order of job {}: {}", order.order.group.job, text);
  if (world_.audit_refusal)
    world_.audit_refusal("launch_order", cap_, audited(why, text));
  auth::order_view view{};
  if (auth::decode_order(order.order.order, view))
    return;
  element_record record;
  record.what = element_record::kind::refused;
  record.group = order.order.group;
  record.element = view.element_first;
  record.element_last = view.element_first + (view.element_count - 1);
  record.text =
      fmt::format("the launcher refused its order ({}): {}", launch::to_string(why), text);
  record.passes = launch::passes(why);
  record.launcher_ends = why == launch::reason::busy || why == launch::reason::wrong_instance;
  report_records message{view.node_id, {std::move(record)}};
  if (auto at = agents_.find(message.node); at != agents_.end())
    tell(at->second, cap_, std::move(message));
}

/// What the last connection carried may never have been read: it goes again, and what had been
/// read is refused as repeated.
void launcher_state::take_back_unread_orders() {
  std::vector<waiting_order> unread;
  for (auto& batch : std::exchange(batches_, {}))
    for (auto& each : batch.orders)
      unread.push_back({std::move(each.order), true});
  waiting_.insert(waiting_.begin(), std::make_move_iterator(unread.begin()),
                  std::make_move_iterator(unread.end()));
}

/// What waited for a connection goes to the launcher it was made for. What was made for one that is
/// gone never left; its jobs hear so when the inventory comes.
void launcher_state::forget_stale_orders() {
  const auto& instance = connection_->launcher().launcher.instance;
  std::erase_if(waiting_, [&](const waiting_order& each) {
    auth::order_view view{};
    return auth::decode_order(each.order.order, view) ||
           !std::equal(std::begin(instance), std::end(instance), std::begin(view.instance),
                       std::end(view.instance));
  });
}

} // namespace troupe::actors
