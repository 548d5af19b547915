// SPDX-License-Identifier: Apache-2.0
#include "actors/launcher.hpp"

#include "auth/order.hpp"

#include <cstring>
#include <fmt/format.h>

namespace troupe::actors {

namespace {

constexpr auto reconnect_deadline = std::chrono::seconds(10);
constexpr std::size_t batch_bytes_aim = 4u << 20;

launch::group_key to_launch(const group_key& key) {
  return {key.job, key.incarnation, key.step};
}
group_key from_launch(const launch::group_key& key) {
  return {key.job, key.incarnation, key.step};
}

constexpr std::uint32_t whole_batch = 0xffffffff; ///< a refusal's order

/// A launcher's refusal in the words of the audit chain.
auth::refusal audited(const launch::refused& what) {
  using from = launch::reason;
  auth::refusal why;
  why.code = errc::refused;
  why.text = what.text;
  switch (what.what.why) {
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

/// The exit code that a shell would give to a command that could not be started.
std::int32_t start_failure_code(const launch::record& from) {
  return from.stage == launch::start_stage::exec && from.error == ENOENT ? 127 : 126;
}

} // namespace

launcher_state::launcher_state(self_pointer self, world& around, verified_capability cap,
                               launch::launcher_place place, bytes keyring,
                               std::shared_ptr<launch::launcher_client> first)
    : self_{self}, world_{around}, cap_{std::move(cap)}, place_{std::move(place)},
      keyring_{std::move(keyring)}, connection_{std::move(first)} {}

launcher_state::~launcher_state() {
  if (connection_)
    connection_->interrupt();
  if (reader_.joinable())
    reader_.join();
}

launcher_state::interface::behavior_type
launcher_state::make_behavior(auth::guard_observer& guard) {
  auto send = [this](auto&& request_to_launcher) {
    if (connection_)
      check(request_to_launcher(*connection_));
  };
  return secure_behavior<interface>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        if (what.msg.timer == 0)
          send_batch();
        else
          reconnect();
      }),
      on<launch_orders>([this](request<launch_orders>& what) {
        if (connection_ && waiting_.empty() && !what.msg.orders.empty())
          self_->send(self_, request<tick>{world_.timer_cap, tick{}});
        for (auto& order : what.msg.orders)
          waiting_.push_back({std::move(order), false});
      }),
      on<signal_group>([this, send](request<signal_group>& what) {
        send_batch();
        const auto& m = what.msg;
        send([&](auto& to) {
          return to.signal(to_launch(m.group), m.element_first, m.element_last,
                           static_cast<std::uint32_t>(m.signal));
        });
      }),
      on<end_group>([this, send](request<end_group>& what) {
        send_batch();
        const auto& m = what.msg;
        send([&](auto& to) {
          return to.end(to_launch(m.group), m.element_first, m.element_last, m.grace_s);
        });
      }),
      on<revoke_group>([this, send](request<revoke_group>& what) {
        send_batch();
        send([&](auto& to) { return to.revoke(to_launch(what.msg.group), what.msg.element_from); });
      }),
      on<acknowledge_records>(
          [this](request<acknowledge_records>& what) { acknowledge(what.msg); }),
      on<forget_group>([send](request<forget_group>& what) {
        send([&](auto& to) { return to.forget(to_launch(what.msg.group)); });
      }),
      on<drop_stream>([send](request<drop_stream>& what) {
        send([&](auto& to) { return to.drop_stream(what.msg.stream); });
      }),
      on<launcher_news>([this](request<launcher_news>& what) { take(what.msg); }),
      on<serve_agents>([this](request<serve_agents>& what) {
        agents_ = std::move(what.msg.agents);
        if (connection_)
          connected(connection_);
        else
          reconnect();
      }),
      on<end_launcher>([this, send](request<end_launcher>& what) {
        ending_ = true;
        send([&](auto& to) { return to.shutdown(what.msg.end_jobs); });
        return launcher_ended{};
      }));
}

// -- the connection -----------------------------------------------------------

void launcher_state::connected(std::shared_ptr<launch::launcher_client> connection) {
  connection_ = std::move(connection);
  ++generation_;
  gathering_ = gathering_inventory{};
  take_back_unread_orders();
  forget_stale_orders();
  highest_ = acknowledged_ = 0;
  undurable_.clear();
  if (reader_.joinable())
    reader_.join();
  reader_ = std::thread{[this, connection = connection_, generation = generation_] {
    read_events(connection, generation);
  }};
  send_batch(); // before the launcher is asked what it has
  check(connection_->inventory());
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

/// The reading thread: every event becomes a message.
void launcher_state::read_events(std::shared_ptr<launch::launcher_client> connection,
                                 std::uint64_t generation) {
  for (;;) {
    auto event = connection->receive();
    launcher_news news;
    news.generation = generation;
    if (!event) {
      news.lost = event.error().text;
      caf::anon_send(interface{self_}, request<launcher_news>{cap_, std::move(news)});
      return;
    }
    news.what = std::make_shared<launch::event>(std::move(*event));
    caf::anon_send(interface{self_}, request<launcher_news>{cap_, std::move(news)});
  }
}

void launcher_state::disconnected(const std::string& why) {
  if (ending_)
    return;
  world_.log->warn("launcher: connection lost: {}", why);
  connection_.reset();
  gathering_.reset();
  for (const auto& [node, agent] : agents_) {
    report_inventory gone;
    gone.node = node;
    tell(agent, cap_, std::move(gone));
  }
  reconnect();
}

/// Finds the launcher again, or starts a new one; off this thread, for it may take seconds.
void launcher_state::reconnect() {
  ++reconnects_;
  auto self = interface { self_ };
  std::thread{[self, place = place_, keyring = keyring_, cap = cap_] {
    launcher_news news;
    auto found = launch::find_or_spawn_launcher(place, keyring, reconnect_deadline);
    if (found)
      news.connection = std::make_shared<launch::launcher_client>(std::move(*found));
    else
      news.lost = found.error().text;
    caf::anon_send(self, request<launcher_news>{cap, std::move(news)});
  }}.detach();
}

void launcher_state::check(const expected<void>& sent) {
  if (!sent)
    world_.log->warn("launcher: {}", sent.error().text);
}

void launcher_state::take(launcher_news& what) {
  if (what.connection) {
    world_.log->info("launcher: connected");
    connected(std::move(what.connection));
    return;
  }
  if (what.generation == 0) {
    world_.log->error("launcher: {}; trying again", what.lost);
    tick_later(self_, world_, std::chrono::seconds(1), 1);
    return;
  }
  if (what.generation != generation_)
    return;
  if (!what.what) {
    disconnected(what.lost);
    return;
  }
  std::visit([this](auto& event) { take(event); }, *what.what);
}

/// The launcher replaced its program on this connection: compare again.
void launcher_state::take(const launch::welcomed&) {
  gathering_ = gathering_inventory{};
  check(connection_->inventory());
}

// -- records --------------------------------------------------------------------

element_record launcher_state::record_of(const launch::record& from) {
  element_record record;
  switch (from.what) {
  case launch::record_kind::started: record.what = element_record::kind::started; break;
  case launch::record_kind::exited: record.what = element_record::kind::exited; break;
  case launch::record_kind::start_failed: record.what = element_record::kind::start_failed; break;
  case launch::record_kind::revoked: record.what = element_record::kind::revoked; break;
  }
  record.sequence = from.seq;
  record.group = from_launch(from.key);
  record.element = from.element;
  record.element_last = from.element + (from.element_count - 1);
  record.slot = from.slot;
  record.rank = from.rank;
  record.exit_code = from.exit_code;
  record.signal = static_cast<std::int32_t>(from.signal);
  record.timed_out = (from.flags & launch::record_timed_out) != 0;
  record.leftovers_ended = from.leftovers;
  record.pid = static_cast<std::int32_t>(from.pid);
  record.started_utc_ns = from.start_utc_ns;
  record.ended_utc_ns = from.end_utc_ns;
  record.user_us = static_cast<std::uint64_t>(from.user_us);
  record.system_us = static_cast<std::uint64_t>(from.system_us);
  record.max_rss_bytes = static_cast<std::uint64_t>(from.max_rss_bytes);
  if (from.what == launch::record_kind::start_failed) {
    record.exit_code = start_failure_code(from);
    auto detail = details_.extract(from.seq);
    record.text = fmt::format("rank {} could not be started: {}: {}{}{}", from.rank,
                              launch::to_string(from.stage), std::strerror(from.error),
                              detail.empty() ? "" : ": ", detail.empty() ? "" : detail.mapped());
  }
  return record;
}

void launcher_state::take(const launch::detailed& what) {
  details_[what.seq] = what.text;
}

void launcher_state::take(const launch::recorded& what) {
  std::map<std::uint32_t, report_records> by_node;
  for (const auto& from : what.records) {
    ++records_;
    highest_ = std::max(highest_, from.seq);
    if (from.what != launch::record_kind::started)
      undurable_.insert(from.seq);
    auto record = record_of(from);
    if (gathering_) {
      gathering_->nodes[from.node_id].unacknowledged.push_back(std::move(record));
      continue;
    }
    auto& message = by_node[from.node_id];
    message.node = from.node_id;
    message.records.push_back(std::move(record));
  }
  report(std::move(by_node));
  if (gathering_)
    finish_inventory();
}

void launcher_state::report(std::map<std::uint32_t, report_records> by_node) {
  for (auto& [node, message] : by_node)
    if (auto at = agents_.find(node); at != agents_.end())
      tell(at->second, cap_, std::move(message));
}

/// Everything below the first end that is not durable yet may be forgotten.
void launcher_state::acknowledge(const acknowledge_records& what) {
  if (!connection_ || !std::equal(what.instance.begin(), what.instance.end(),
                                  std::begin(connection_->launcher().launcher.instance)))
    return; // another launcher's records
  for (auto sequence : what.sequences)
    undurable_.erase(sequence);
  const auto upto = undurable_.empty() ? highest_ : *undurable_.begin() - 1;
  if (upto <= acknowledged_)
    return;
  acknowledged_ = upto;
  check(connection_->acknowledge(upto));
}

// -- inventories ------------------------------------------------------------------

void launcher_state::take(const launch::inventoried& what) {
  if (!gathering_)
    return;
  for (const auto& entry : what.entries) {
    auto& groups = gathering_->nodes[entry.node_id].groups;
    const auto key = from_launch(entry.key);
    if (groups.empty() || groups.back().group != key)
      groups.push_back({key, {}, {}});
    if (entry.state == launch::inventory_state::queued)
      groups.back().queued.push_back({entry.element, entry.element + (entry.element_count - 1)});
    else
      groups.back().running.push_back({entry.element, entry.slot, entry.start_utc_ns});
  }
}

void launcher_state::take(const launch::inventory_end& what) {
  if (!gathering_)
    return;
  gathering_->complete = true;
  gathering_->last_sequence = what.last_seq;
  gathering_->acknowledged = what.acknowledged_seq;
  finish_inventory();
}

/// When everything has come that the launcher keeps, the nodes compare it with what they know.
void launcher_state::finish_inventory() {
  if (!gathering_->complete || (gathering_->last_sequence > gathering_->acknowledged &&
                                highest_ < gathering_->last_sequence))
    return;
  auto gathered = std::move(*gathering_);
  gathering_.reset();
  for (const auto& [node, agent] : agents_) {
    auto& inventory = gathered.nodes[node];
    inventory.node = node;
    inventory.connected = true;
    std::copy(std::begin(connection_->launcher().launcher.instance),
              std::end(connection_->launcher().launcher.instance), inventory.instance.begin());
    tell(agent, cap_, std::move(inventory));
  }
}

void launcher_state::take(launch::lent_stream& what) {
  auto at = agents_.find(what.what.node_id);
  if (at == agents_.end())
    return;
  take_stream message;
  message.group = from_launch(what.what.key);
  message.stream = what.what.id;
  message.element = what.what.element;
  message.rank = what.what.rank;
  message.what = what.what.which == 4   ? take_stream::kind::input
                 : what.what.which == 3 ? take_stream::kind::shepherd
                 : what.what.which == 2 ? take_stream::kind::errors
                                        : take_stream::kind::output;
  message.uid = what.what.uid;
  message.descriptor = what.fd.release();
  message.store = what.store.release();
  tell(at->second, cap_, std::move(message));
}

// -- orders -----------------------------------------------------------------------

/// All orders that have gathered, in batches that the launcher takes; equal specs travel once. A
/// batch is kept until the launcher says that it has read it.
void launcher_state::send_batch() {
  while (!waiting_.empty() && connection_) {
    std::vector<launch::sealed_order> orders;
    std::vector<byte_view> specs;
    sent_batch batch{next_tag_++, {}};
    std::size_t size = 0;
    std::size_t count = 0;
    for (const auto& [order, again] : waiting_) {
      if (count == launch::batch_orders_max || (count > 0 && size > batch_bytes_aim))
        break;
      if (specs.empty() || specs.back().size() != order.spec.size() ||
          std::memcmp(specs.back().data(), order.spec.data(), order.spec.size()) != 0) {
        specs.push_back(order.spec);
        size += order.spec.size();
      }
      size += order.order.size() + order.seal.size();
      orders.push_back({order.order, order.seal, static_cast<std::uint32_t>(specs.size() - 1)});
      ++count;
    }
    ++batch_count_;
    orders_ += count;
    check(connection_->launch(batch.tag, orders, specs));
    const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
    batch.orders.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(end));
    waiting_.erase(waiting_.begin(), end);
    batches_.push_back(std::move(batch));
  }
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
        refuse(batch.orders[i], what);
  }
  if (why.order == whole_batch) // nothing more is said of it
    std::erase_if(batches_, [&](const sent_batch& batch) { return batch.tag == why.tag; });
}

/// The elements of an order that was not accepted never ran.
void launcher_state::refuse(const waiting_order& order, const launch::refused& what) {
  if (order.again && what.what.why == launch::reason::repeated)
    return; // it had been read before the connection was lost
  world_.log->warn("launcher: refused an order of job {}: {}", order.order.group.job, what.text);
  if (world_.audit_refusal)
    world_.audit_refusal("launch_order", cap_, audited(what));
  auth::order_view view{};
  if (auth::decode_order(order.order.order, view))
    return;
  element_record record;
  record.what = element_record::kind::refused;
  record.group = order.order.group;
  record.element = view.element_first;
  record.element_last = view.element_first + (view.element_count - 1);
  record.text = fmt::format("the launcher refused its order ({}): {}",
                            launch::to_string(what.what.why), what.text);
  report_records message{view.node_id, {std::move(record)}};
  if (auto at = agents_.find(message.node); at != agents_.end())
    tell(at->second, cap_, std::move(message));
}

status_report launcher_state::status() const {
  status_report report;
  report.actor = name;
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("connected", static_cast<bool>(connection_));
  if (connection_)
    add("launcher pid", connection_->launcher().launcher.pid);
  add("orders sent", orders_);
  add("batches", batch_count_);
  add("records taken", records_);
  add("records not durable yet", undurable_.size());
  add("acknowledged up to", acknowledged_);
  add("reconnects", reconnects_);
  return report;
}

} // namespace troupe::actors
