// SPDX-License-Identifier: Apache-2.0
#include "actors/launcher.hpp"

#include "auth/order.hpp"
#include "runtime/launch/passing.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <utility>

namespace troupe::actors {

namespace {

/// Sorted numbers as the ranges they make.
std::vector<launch::seq_range> ranges_of(std::vector<std::uint64_t>& numbers) {
  std::sort(numbers.begin(), numbers.end());
  std::vector<launch::seq_range> ranges;
  for (auto number : numbers)
    if (!ranges.empty() && number <= ranges.back().last + 1)
      ranges.back().last = number;
    else
      ranges.push_back({number, number});
  return ranges;
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
      keyring_{std::move(keyring)}, connection_{std::move(first)},
      line_{place_, keyring_, [this](launch::launcher_line::news&& what) {
              caf::anon_send(interface{self_}, request<launcher_news>{cap_, {std::move(what)}});
            }} {}

launcher_state::interface::behavior_type
launcher_state::make_behavior(auth::guard_observer& guard) {
  auto send = [this](auto&& request_to_launcher) {
    if (connection_)
      check(request_to_launcher(*connection_));
  };
  return secure_behavior<interface>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tick>([this](request<tick>& what) {
        switch (static_cast<timer>(what.msg.timer)) {
        case timer::send:
          send_due_ = false;
          send_batch();
          break;
        case timer::start_line: start_line(); break;
        case timer::lend: lend_due(); break;
        }
      }),
      on<launch_orders>([this](request<launch_orders>& what) { take(what); }),
      on<signal_group>([this, send](request<signal_group>& what) {
        send_batch();
        const auto& m = what.msg;
        send([&](auto& to) {
          return to.signal(to_launch(m.group), m.element_first, m.element_last,
                           static_cast<std::uint32_t>(m.signal));
        });
      }),
      on<end_group>([this](request<end_group>& what) {
        send_now_and_after(what.msg.group, [m = what.msg](auto& to) {
          return to.end(to_launch(m.group), m.element_first, m.element_last, m.grace_s);
        });
      }),
      on<revoke_group>([this](request<revoke_group>& what) {
        send_now_and_after(what.msg.group, [m = what.msg](auto& to) {
          return to.revoke(to_launch(m.group), m.element_from);
        });
      }),
      on<acknowledge_records>(
          [this](request<acknowledge_records>& what) { acknowledge(what.msg); }),
      on<forget_group>([this](request<forget_group>& what) { forget(to_launch(what.msg.group)); }),
      on<drop_stream>([this, send](request<drop_stream>& what) {
        unlent_.erase(what.msg.stream);
        send([&](auto& to) { return to.drop_stream(what.msg.stream); });
      }),
      on<lend_again>([this](request<lend_again>& what) { lend_later(what.msg.stream); }),
      on<launcher_news>([this](request<launcher_news>& what) { take(what.msg); }),
      on<serve_agents>([this](request<serve_agents>& what) {
        agents_ = std::move(what.msg.agents);
        const auto is_first = !std::exchange(serving_, true);
        if (is_first)
          start_line();
        else if (connection_)
          compare();
      }),
      on<end_launcher>([this, send](request<end_launcher>& what) {
        ending_ = true;
        send([&](auto& to) { return to.shutdown(what.msg.end_jobs); });
        return launcher_ended{};
      }));
}

// -- the connection -----------------------------------------------------------

/// Until there is a thread for it, nothing is heard.
void launcher_state::start_line() {
  if (auto started = line_.start(); !started) {
    const auto pause =
        pause_after(line_tries_++, std::chrono::seconds{1}, std::chrono::seconds{60});
    world_.log->error("launcher: {}; trying again in {} s", started.error().text,
                      pause.count() / 1000);
    tick_later(self_, world_, pause, static_cast<std::uint32_t>(timer::start_line));
    return;
  }
  line_tries_ = 0;
  if (connection_)
    connected(connection_);
  else
    line_.find(std::chrono::milliseconds{0});
}

void launcher_state::connected(std::shared_ptr<launch::launcher_client> connection) {
  connection_ = std::move(connection);
  find_tries_ = 0;
  take_back_unread_orders();
  forget_stale_orders();
  after_orders_.clear(); // who asked compares, and asks again
  unlent_.clear();       // all streams are lent with the inventory
  line_.read(connection_);
  send_batch(); // before the launcher is asked what it has
  for (const auto& group : std::exchange(unforgotten_, {}))
    check(connection_->forget(to_launch(group)));
  compare();
}

/// The launcher says again what it has, and all that was not acknowledged.
void launcher_state::compare() {
  gathering_ = gathering_inventory{};
  highest_ = acknowledged_ = 0;
  undurable_.clear();
  settled_.clear();
  details_.clear();
  check(connection_->inventory());
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
  ++reconnects_;
  line_.find(std::chrono::milliseconds{0});
}

void launcher_state::reconnect(const std::string& why) {
  if (ending_)
    return;
  const auto pause = pause_after(find_tries_++, std::chrono::seconds{1}, std::chrono::seconds{30});
  world_.log->error("launcher: {}; trying again in {} s", why, pause.count() / 1000);
  ++reconnects_;
  line_.find(pause);
}

/// A request that was not sent is made good by comparing: the connection is given up for a new one.
void launcher_state::check(const expected<void>& sent) {
  if (sent)
    return;
  world_.log->warn("launcher: {}", sent.error().text);
  if (connection_)
    connection_->interrupt();
}

void launcher_state::take(launcher_news& what) {
  auto& news = what.what;
  if (news.connection) {
    world_.log->info("launcher: connected");
    connected(std::move(news.connection));
  } else if (news.what) {
    if (connection_)
      std::visit([this](auto& event) { take(event); }, *news.what);
  } else if (news.was_connected) {
    disconnected(news.lost);
  } else {
    reconnect(news.lost);
  }
}

/// The launcher replaced its program on this connection: compare again.
void launcher_state::take(const launch::welcomed&) {
  compare();
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
  record.passes = launch::passes(from);
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
    if (from.what == launch::record_kind::started)
      settled_.push_back(from.seq); // it rides along with the ends
    else
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
    else
      settle_unheard(node, message.records);
}

/// Of a node that this cluster does not have (any more): no job waits for it, and it must not stay
/// where others need room.
void launcher_state::settle_unheard(std::uint32_t node,
                                    const std::vector<element_record>& records) {
  if (records.empty())
    return;
  world_.log->warn("launcher: {} records of node {}, which this cluster does not have, are "
                   "acknowledged unread; the first is of job {}",
                   records.size(), node, records.front().group.job);
  for (const auto& record : records) {
    undurable_.erase(record.sequence);
    settled_.push_back(record.sequence);
  }
  send_acknowledgements();
}

void launcher_state::acknowledge(const acknowledge_records& what) {
  if (!connection_ || !std::equal(what.instance.begin(), what.instance.end(),
                                  std::begin(connection_->launcher().launcher.instance)))
    return; // another launcher's records
  for (auto sequence : what.sequences)
    if (undurable_.erase(sequence) > 0)
      settled_.push_back(sequence);
  send_acknowledgements();
}

/// A launcher of release 0.1 forgets up to a number only: to it the first record that is not
/// durable holds up all later ones.
void launcher_state::send_acknowledgements() {
  if (!connection_ || settled_.empty())
    return;
  if ((connection_->launcher().features & launch::feature_ranges) != 0) {
    acknowledged_ = std::max(acknowledged_, *std::max_element(settled_.begin(), settled_.end()));
    check(connection_->acknowledge(ranges_of(settled_)));
    settled_.clear();
    return;
  }
  settled_.clear();
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
    inventory.uncertain = (connection_->launcher().features & launch::feature_uncertain) != 0;
    std::copy(std::begin(connection_->launcher().launcher.instance),
              std::end(connection_->launcher().launcher.instance), inventory.instance.begin());
    tell(agent, cap_, std::move(inventory));
  }
  for (const auto& [node, inventory] : gathered.nodes)
    if (!agents_.contains(node)) {
      settle_unheard(node, inventory.unacknowledged);
      if (!inventory.groups.empty())
        world_.log->warn("launcher: elements of {} steps run on node {}, which this cluster does "
                         "not have; they are left alone",
                         inventory.groups.size(), node);
    }
}

/// This process has no descriptor free: the launcher keeps the stream, and is asked again.
void launcher_state::take(const launch::unlent_stream& what) {
  lend_later(what.what.id);
}

void launcher_state::lend_later(std::uint64_t stream) {
  const auto tries = unlent_[stream]++;
  const auto pause = pause_after(tries, std::chrono::milliseconds{200}, std::chrono::seconds{10});
  if (tries == 0)
    world_.log->warn("launcher: a stream could not be taken, is the limit of descriptors reached? "
                     "trying again in {} ms",
                     pause.count());
  if (!std::exchange(lend_due_, true))
    tick_later(self_, world_, pause, static_cast<std::uint32_t>(timer::lend));
}

void launcher_state::lend_due() {
  lend_due_ = false;
  for (const auto& [stream, tries] : unlent_)
    if (connection_)
      check(connection_->lend(stream));
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
