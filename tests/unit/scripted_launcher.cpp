// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/scripted_launcher.hpp"

#include <algorithm>
#include <fmt/format.h>

namespace troupe::test {

namespace {

constexpr std::int64_t skew_ns = 5 * ns_per_s;

/// The processing units of a slot; none: a hole.
std::set<std::uint32_t> units_of(const auth::order_view& order, std::uint32_t slot) {
  std::set<std::uint32_t> units;
  for (std::uint32_t rank = 0; rank < order.ranks_here; ++rank)
    for (std::uint32_t word = 0; word < order.cpu_words; ++word)
      for (std::uint32_t bit = 0; bit < 64; ++bit)
        if ((order.cpuset_word(slot, rank, word) >> bit & 1) != 0)
          units.insert(word * 64 + bit);
  return units;
}

std::string text_of(const group_key& group, std::uint32_t element) {
  return fmt::format("{}{} in incarnation {}", format_id(group.job, element),
                     group.step == 0 ? "" : fmt::format(".{}", group.step), group.incarnation);
}

} // namespace

scripted_launcher::scripted_launcher(std::shared_ptr<node_inventory const> offers,
                                     const clock_source& clock, dice& random)
    : offers_{std::move(offers)}, clock_{clock}, random_{random} {
  restart();
}

// -- orders -------------------------------------------------------------------

void scripted_launcher::launch(std::vector<sealed_order>& orders) {
  for (auto& each : orders) {
    if (connected_)
      admit(each);
    else
      waiting_.push_back(std::move(each));
  }
}

void scripted_launcher::had(const sealed_order& what) {
  auth::order_view order;
  if (auth::decode_order(what.order, order))
    return to.violated("the test itself made an order that is none");
  auto& group = groups_[what.group];
  const auto last = order.element_first + (order.element_count - 1);
  group.seen.insert(order.element_first, last);
  group.queue.emplace_back(order.element_first, last);
  group.newest = what.order;
  refill(what.group, group);
}

std::optional<std::uint32_t> scripted_launcher::incarnation_of(job_id job,
                                                               std::uint32_t element) const {
  for (const auto& each : running_)
    if (each.group.job == job && each.group.step == 0 && each.number == element)
      return each.group.incarnation;
  return std::nullopt;
}

bool scripted_launcher::acceptable(const auth::order_view& order, const group_key& group) {
  if (!auth::same_bytes(order.instance, instance_)) {
    refuse(order, group, "it is for another start of this launcher", judgement::refuses_at_its_end);
    return false;
  }
  if (clock_.boot() > order.expires_ns + skew_ns) {
    refuse(order, group, "it has expired", judgement::refuses_for_now);
    return false;
  }
  if (const auto how = judges ? judges(order) : judgement::takes; how != judgement::takes) {
    refuse(order, group, "the script says so", how);
    return false;
  }
  const auto& seen = groups_[group].seen;
  for (std::uint32_t i = 0; i < order.element_count; ++i)
    if (seen.contains(order.element_first + i)) {
      to.violated(text_of(group, order.element_first + i) + " was ordered twice");
      refuse(order, group, "it is repeated", judgement::refuses);
      return false;
    }
  return true;
}

void scripted_launcher::refuse(const auth::order_view& order, const group_key& group,
                               std::string why, judgement how) {
  ++refused;
  element_record record;
  record.what = element_record::kind::refused;
  record.group = group;
  record.element = order.element_first;
  record.element_last = order.element_first + (order.element_count - 1);
  record.text = std::move(why);
  record.passes = how != judgement::refuses;
  record.launcher_ends = how == judgement::refuses_at_its_end;
  outgoing_.push_back({record});
}

void scripted_launcher::admit(const sealed_order& what) {
  auth::order_view order;
  if (auth::decode_order(what.order, order) || what.seal.empty()) {
    to.violated("an order came that is none, or without a seal");
    return;
  }
  if (!acceptable(order, what.group)) {
    unheard_.push_back(what);
    return;
  }
  to.ordered(order);
  auto& group = groups_[what.group];
  // What waits starts in the slots of the newest order.
  if (auth::order_view newest; !group.queue.empty() && !auth::decode_order(group.newest, newest) &&
                               (newest.node_count > 1 || order.node_count > 1))
    to.violated(text_of(what.group, order.element_first) +
                " was ordered into slots of its own on " + offers_->name +
                ", or behind such an order, while " +
                text_of(what.group, group.queue.front().first) + " waits for others");
  const auto last = order.element_first + (order.element_count - 1);
  group.seen.insert(order.element_first, last);
  group.queue.emplace_back(order.element_first, last);
  group.newest = what.order;
  refill(what.group, group);
}

void scripted_launcher::refill(const group_key& key, launch_group_state& group) {
  auth::order_view newest;
  if (auth::decode_order(group.newest, newest))
    return;
  while (!group.queue.empty()) {
    std::uint32_t slot = 0;
    while (slot < newest.window && (group.slots.contains(slot) || units_of(newest, slot).empty()))
      ++slot;
    if (slot == newest.window)
      return;
    auto& [first, last] = group.queue.front();
    const auto number = first;
    if (first == last)
      group.queue.pop_front();
    else
      ++first;
    group.slots.insert(slot);
    start(key, newest, number, slot);
  }
}

void scripted_launcher::start(const group_key& key, const auth::order_view& newest,
                              std::uint32_t number, std::uint32_t slot) {
  running_element made;
  made.group = key;
  made.number = number;
  made.slot = slot;
  made.rank_first = newest.rank_first;
  made.units = units_of(newest, slot);
  made.started = clock_.utc();
  const auto begun = clock_.boot();
  made.began = begun;
  const auto brief = newest.job_name.find("brief") != std::string_view::npos;
  if (newest.job_name.find("endless") == std::string_view::npos)
    made.due = begun + 1 + std::int64_t(random_.below((brief ? 5 : 4000) * ns_per_ms));
  if (newest.job_name.find("failing") != std::string_view::npos)
    made.exit_code = 3;
  if (newest.time_limit_s > 0)
    made.limit = begun + newest.time_limit_s * ns_per_s;
  // An element's steps run on its own cores.
  const auto is_family = [&](const running_element& other) {
    return other.number == number && other.group.job == key.job && other.group.step != key.step;
  };
  if (short_starts > 0) {
    --short_starts;
    made.never_ran = made.announced = true;
    made.units.clear(); // no process of it was ever on them
    made.due = begun;
    running_.push_back(std::move(made));
    return;
  }
  for (const auto& other : running_)
    for (auto unit : made.units)
      if (!is_family(other) && other.units.contains(unit))
        to.violated(fmt::format("{} has core {} of {}, which {} runs on", text_of(key, number),
                                unit, offers_->name, text_of(other.group, other.number)));
  running_.push_back(std::move(made));
  to.started(key.job, number);
}

// -- ends ---------------------------------------------------------------------

/// The slot is free at once, and the next element has it; the record comes with the next flush.
void scripted_launcher::finish(std::size_t index) {
  auto over = std::move(running_[index]);
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
  over.ended = over.started + (clock_.boot() - over.began);
  const auto key = over.group;
  auto& group = groups_.at(key);
  group.slots.erase(over.slot);
  ended_.push_back(std::move(over));
  refill(key, group);
}

void scripted_launcher::work() {
  const auto now = clock_.boot();
  for (std::size_t i = 0; i < running_.size();) {
    auto& each = running_[i];
    const auto over = each.limit != 0 && each.limit <= now;
    if (!over && (each.due == 0 || each.due > now)) {
      ++i;
      continue;
    }
    if (over && (each.due == 0 || each.due > each.limit)) {
      each.timed_out = true;
      each.exit_code = 0;
      each.signal = 15;
    }
    finish(i);
    i = 0;
  }
}

bool scripted_launcher::end_one(std::int32_t exit_code) {
  if (running_.empty())
    return false;
  const auto index = random_.below(running_.size());
  running_[index].exit_code = exit_code;
  finish(index);
  return true;
}

void scripted_launcher::end(const end_group& what) {
  if (!connected_)
    return;
  withdraw(what.group, what.element_first, what.element_last);
  for (auto& each : running_)
    if (each.group == what.group && what.element_first <= each.number &&
        each.number <= what.element_last) {
      each.due = clock_.boot() + std::int64_t(random_.below(500 * ns_per_ms));
      each.exit_code = 0;
      each.signal = 15;
    }
}

void scripted_launcher::revoke(const revoke_group& what) {
  if (connected_)
    withdraw(what.group, what.element_from, no_element);
}

void scripted_launcher::withdraw(const group_key& key, std::uint32_t first, std::uint32_t last) {
  auto at = groups_.find(key);
  if (at == groups_.end())
    return;
  auto queue = std::exchange(at->second.queue, {});
  for (auto [low, high] : queue) {
    const auto from = std::max(low, first);
    const auto upto = std::min(high, last);
    if (from > upto) {
      at->second.queue.emplace_back(low, high);
      continue;
    }
    auto& record = add(element_record::kind::revoked, key);
    record.element = from;
    record.element_last = upto;
    if (low < from)
      at->second.queue.emplace_back(low, from - 1);
    if (upto < high)
      at->second.queue.emplace_back(upto + 1, high);
  }
}

// -- records ------------------------------------------------------------------

element_record& scripted_launcher::add(element_record::kind what, const group_key& group) {
  element_record record;
  record.what = what;
  record.sequence = ++sequence_;
  record.group = group;
  pending_.push_back(std::move(record));
  return pending_.back();
}

/// In the launcher's own order: starts first, then ends, the last of them first. What ended before
/// it was announced has no start.
void scripted_launcher::flush() {
  for (auto& each : running_) {
    if (std::exchange(each.announced, true))
      continue;
    auto& record = add(element_record::kind::started, each.group);
    record.element = record.element_last = each.number;
    record.slot = each.slot;
    record.started_utc_ns = each.started;
  }
  for (auto each = ended_.rbegin(); each != ended_.rend(); ++each) {
    auto& record =
        add(each->never_ran ? element_record::kind::start_failed : element_record::kind::exited,
            each->group);
    record.passes = each->never_ran;
    if (each->never_ran)
      record.text = "no process could be made";
    record.element = record.element_last = each->number;
    record.slot = each->slot;
    record.rank = each->rank_first;
    record.exit_code = each->exit_code;
    record.signal = each->signal;
    record.timed_out = each->timed_out;
    record.started_utc_ns = each->started;
    record.ended_utc_ns = each->ended;
  }
  ended_.clear();
  for (const auto& record : pending_) {
    kept_[record.sequence] = record;
    if (record.what != element_record::kind::started)
      undurable_.insert(record.sequence);
  }
  while (connected_ && !pending_.empty()) {
    const auto count = std::min<std::size_t>(pending_.size(), 1 + random_.below(8));
    const auto upto = pending_.begin() + static_cast<std::ptrdiff_t>(count);
    outgoing_.emplace_back(pending_.begin(), upto);
    pending_.erase(pending_.begin(), upto);
  }
  pending_.clear();
}

bool scripted_launcher::deliver() {
  if (!connected_ || outgoing_.empty())
    return false;
  to.records({offers_->node, outgoing_.front()});
  if (outgoing_.front().front().what == element_record::kind::refused) // that is said once
    unheard_.pop_front();
  else
    told_.push_back(std::move(outgoing_.front()));
  outgoing_.pop_front();
  return true;
}

void scripted_launcher::repeat() {
  if (connected_ && !told_.empty())
    to.records({offers_->node, told_[random_.below(told_.size())]});
}

/// As the launcher's actor does: up to the first end that is not durable yet.
void scripted_launcher::acknowledge(const acknowledge_records& what) {
  if (!connected_ || what.instance != instance_)
    return;
  for (auto sequence : what.sequences) {
    auto at = kept_.find(sequence);
    if (at == kept_.end() || undurable_.erase(sequence) == 0)
      continue;
    if (at->second.what == element_record::kind::exited)
      to.acknowledged(at->second);
  }
  kept_.erase(kept_.begin(),
              undurable_.empty() ? kept_.end() : kept_.lower_bound(*undurable_.begin()));
}

void scripted_launcher::forget(const group_key& group) {
  auto at = groups_.find(group);
  if (!connected_ || at == groups_.end())
    return;
  const auto busy = std::any_of(running_.begin(), running_.end(),
                                [&](const auto& each) { return each.group == group; });
  if (busy || !at->second.queue.empty())
    to.violated(fmt::format("job {} is to be forgotten while it runs", group.job));
  else
    groups_.erase(at);
}

// -- the connection -----------------------------------------------------------

std::size_t scripted_launcher::queued() const {
  std::size_t count = 0;
  for (const auto& [key, group] : groups_)
    for (auto [first, last] : group.queue)
      count += last - first + 1;
  return count + waiting_.size();
}

report_inventory scripted_launcher::inventory() const {
  report_inventory what;
  what.node = offers_->node;
  what.connected = true;
  what.instance = instance_;
  what.offers = offers_;
  for (const auto& [key, group] : groups_) {
    report_inventory::running_group entry{key, {}, {}};
    for (const auto& each : running_)
      if (each.group == key)
        entry.running.push_back({each.number, each.slot, each.started});
    for (auto [first, last] : group.queue)
      entry.queued.push_back({first, last});
    if (!entry.running.empty() || !entry.queued.empty())
      what.groups.push_back(std::move(entry));
  }
  for (const auto& [sequence, record] : kept_)
    what.unacknowledged.push_back(record);
  return what;
}

void scripted_launcher::disconnect() {
  flush();
  connected_ = false;
  outgoing_.clear();
  told_.clear();
  // As from actors/launcher_orders.cpp: what the connection carried, and no answer came to, goes
  // again, and is judged again.
  waiting_.insert(waiting_.begin(), unheard_.begin(), unheard_.end());
  unheard_.clear();
  if (!to.inventory)
    return;
  report_inventory gone;
  gone.node = offers_->node;
  to.inventory(std::move(gone));
}

void scripted_launcher::connect() {
  if (connected_)
    return;
  connected_ = true;
  flush();
  outgoing_.clear();
  to.inventory(inventory());
  auto waiting = std::exchange(waiting_, {});
  for (const auto& each : waiting) {
    auth::order_view order;
    if (!auth::decode_order(each.order, order) && auth::same_bytes(order.instance, instance_))
      admit(each);
  }
}

void scripted_launcher::lose_daemon() {
  to.records = nullptr;
  to.inventory = nullptr;
  disconnect();
  waiting_.clear();
}

void scripted_launcher::restart() {
  if (connected_)
    disconnect();
  groups_.clear();
  running_.clear();
  ended_.clear();
  pending_.clear();
  kept_.clear();
  undurable_.clear();
  sequence_ = 0;
  instance_.fill(0);
  instance_[0] = ++starts_;
  instance_[1] = static_cast<std::uint8_t>(offers_->node);
}

// -- the agent ----------------------------------------------------------------

scripted_agent::scripted_agent(self_pointer self, actors::world& around,
                               actors::verified_capability cap, node_actor node,
                               std::shared_ptr<scripted_launcher> launcher)
    : self_{self}, world_{around}, cap_{std::move(cap)}, node_{std::move(node)},
      launcher_{std::move(launcher)} {}

agent_actor::behavior_type scripted_agent::make_behavior(auth::guard_observer& guard) {
  using actors::on;
  return actors::secure_behavior<agent_actor>(
      guard, on<get_status>([](request<get_status>&) { return status_report{}; }),
      on<launch_orders>([this](auto& what) { launcher_->launch(what.msg.orders); }),
      on<signal_group>([](request<signal_group>&) {}),
      on<end_group>([this](auto& what) { launcher_->end(what.msg); }),
      on<revoke_group>([this](auto& what) { launcher_->revoke(what.msg); }),
      on<acknowledge_records>([this](auto& what) { launcher_->acknowledge(what.msg); }),
      on<forget_group>([this](auto& what) { launcher_->forget(what.msg.group); }),
      on<read_output>([](request<read_output>&) { return output_chunk{}; }),
      on<write_input>([](request<write_input>&) {
        return input_taken{0, true};
      }),
      on<tell_shepherd>([](request<tell_shepherd>&) {}),
      on<hear_shepherd>([](request<hear_shepherd>&) {}),
      on<report_records>([this](auto& what) { actors::tell(node_, cap_, std::move(what.msg)); }),
      on<report_inventory>([this](auto& what) { actors::tell(node_, cap_, std::move(what.msg)); }),
      on<take_stream>([](request<take_stream>&) {}), on<lend_again>([](request<lend_again>&) {}));
}

} // namespace troupe::test
