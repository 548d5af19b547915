// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/collectives.hpp"

#include "tools/shepherd/say.hpp"

#include <algorithm>
#include <sodium.h>

namespace troupe::shepherd {

namespace {

constexpr std::uint32_t every_rank = 0xfffffffe; // PMIX_RANK_WILDCARD

std::array<std::uint8_t, 16> digest_of(const std::vector<process_name>& participants,
                                       const std::string& name) {
  std::array<std::uint8_t, 16> digest{};
  crypto_generichash_state state;
  crypto_generichash_init(&state, nullptr, 0, digest.size());
  const auto add = [&](const void* from, std::size_t bytes) {
    crypto_generichash_update(&state, static_cast<const unsigned char*>(from), bytes);
  };
  add(name.c_str(), name.size() + 1);
  for (const auto& each : participants) {
    add(each.nspace.c_str(), each.nspace.size() + 1);
    add(&each.rank, sizeof each.rank);
  }
  crypto_generichash_final(&state, digest.data(), digest.size());
  return digest;
}

bool takes_part(const std::vector<process_name>& participants, const process_name& who) {
  return std::ranges::any_of(participants, [&](const process_name& each) {
    return each.nspace == who.nspace && (each.rank == who.rank || each.rank == every_rank);
  });
}

} // namespace

collective_id collectives::next_id(const wish& asked) {
  collective_id id;
  id.kind = static_cast<std::uint8_t>(asked.kind);
  id.participants = digest_of(asked.participants, asked.name);
  id.number = next_[{id.kind, id.participants}]++;
  return id;
}

bool collectives::is_over(const collective_id& id) const {
  const auto next = next_.find({id.kind, id.participants});
  return next != next_.end() && id.number < next->second && !running_.contains(id);
}

void collectives::start(wish asked, finisher done) {
  std::ranges::sort(asked.participants);
  auto nodes = world_.nodes_of(asked.participants);
  const auto own = std::ranges::find(nodes, own_);
  if (own == nodes.end())
    return done(world_.status_of_unknown, {});
  const auto id = next_id(asked);
  const auto at = running_.try_emplace(id).first;
  auto& c = at->second;
  c.started = true;
  c.participants = std::move(asked.participants);
  c.own_place = static_cast<std::size_t>(own - nodes.begin());
  c.nodes = std::move(nodes);
  c.done = std::move(done);
  c.parts[own_] = {own_, 0, std::move(asked.data)};
  if (asked.timeout > steady::duration{})
    c.until = steady::now() + asked.timeout;
  next_tick_ = std::min(next_tick_, c.until);
  const bool one_is_lost = std::ranges::any_of(
      c.nodes, [&](auto node) { return lost_nodes_.contains(node) && !c.parts.contains(node); });
  if (one_is_lost && !c.failed) {
    c.failed = true;
    c.status = world_.status_of_loss;
  }
  for (const auto& [who, node] : ended_) // it may have ended before anybody here came
    doubt(id, c, who, node);
  progress(at);
}

/// Whether it has the `length` parts from its own on, round the circle of nodes.
bool collectives::has_run(const collective& c, std::size_t length) const {
  for (std::size_t i = 0; i < length; ++i)
    if (!c.parts.contains(c.nodes[(c.own_place + i) % c.nodes.size()]))
      return false;
  return true;
}

void collectives::send_run(const collective_id& id, const collective& c, std::size_t length) {
  const auto count = c.nodes.size();
  peer_message message;
  auto& part = message.collective_part.emplace();
  part.id = id;
  for (std::size_t i = 0; i < std::min(length, count - length); ++i)
    part.parts.push_back(c.parts.at(c.nodes[(c.own_place + i) % count]));
  world_.send(c.nodes[(c.own_place + count - length) % count], message);
}

void collectives::progress(table::iterator at) {
  auto& c = at->second;
  if (!c.started)
    return;
  while (!c.failed && c.distance < c.nodes.size() && has_run(c, c.distance)) {
    send_run(at->first, c, c.distance);
    c.distance *= 2;
  }
  if (c.failed || (c.distance >= c.nodes.size() && c.parts.size() == c.nodes.size()))
    finish(at);
}

void collectives::finish(table::iterator at) {
  auto c = std::move(at->second);
  running_.erase(at);
  std::vector<contribution> parts;
  for (auto& [node, part] : c.parts) {
    if (part.status != 0 && c.status == 0)
      c.status = part.status;
    parts.push_back(std::move(part));
  }
  if (c.status != 0)
    parts.clear();
  c.done(c.status, parts);
}

void collectives::take(std::uint32_t node, collective_part from) {
  if (is_over(from.id))
    return;
  if (!running_.contains(from.id) && running_.size() >= early_max) {
    say("node %u is ahead by more than %zu collectives: one is dropped", node, early_max);
    return;
  }
  const auto at = running_.try_emplace(from.id).first;
  for (auto& part : from.parts)
    at->second.parts.try_emplace(part.node, std::move(part));
  progress(at);
}

void collectives::take(std::uint32_t node, const collective_doubt& from) {
  const auto next = next_.find({from.id.kind, from.id.participants});
  if (next != next_.end() && from.id.number < next->second)
    return; // given: it is on its way
  peer_message message;
  message.collective_failed = collective_failed{from.id, world_.status_of_loss};
  world_.send(node, message);
  fail_one(from.id, world_.status_of_loss);
}

void collectives::take(std::uint32_t, const collective_failed& from) {
  if (!is_over(from.id))
    fail_one(from.id, from.status);
}

void collectives::fail_one(const collective_id& id, std::int32_t status) {
  const auto at = running_.try_emplace(id).first;
  at->second.failed = true;
  at->second.status = status;
  progress(at);
}

/// Others may wait for parts that would have passed through here: they hear of it.
void collectives::time_out(const collective_id& id) {
  const auto nodes = running_.at(id).nodes;
  peer_message message;
  message.collective_failed = collective_failed{id, world_.status_of_timeout};
  for (const auto node : nodes)
    if (node != own_)
      world_.send(node, message);
  fail_one(id, world_.status_of_timeout);
}

void collectives::tick(steady::time_point now) {
  if (now < next_tick_)
    return;
  next_tick_ = steady::time_point::max();
  std::vector<collective_id> late;
  for (const auto& [id, c] : running_) {
    if (now >= c.until)
      late.push_back(id);
    else
      next_tick_ = std::min(next_tick_, c.until);
  }
  for (const auto& id : late)
    time_out(id);
}

void collectives::doubt(const collective_id& id, const collective& c, const process_name& who,
                        std::uint32_t node) {
  if (!c.started || node == own_ || c.parts.contains(node) || !takes_part(c.participants, who))
    return;
  peer_message message;
  message.collective_doubt = collective_doubt{id};
  world_.send(node, message);
}

void collectives::rank_ended(const process_name& who, std::uint32_t node) {
  if (node != own_)
    ended_[who] = node;
  for (const auto& [id, c] : running_)
    doubt(id, c, who, node);
}

void collectives::step_ended(const std::string& nspace) {
  std::erase_if(ended_, [&](const auto& each) { return each.first.nspace == nspace; });
}

void collectives::node_lost(std::uint32_t node) {
  lost_nodes_.insert(node);
  std::vector<collective_id> hit;
  for (const auto& [id, c] : running_)
    if (c.started && !c.parts.contains(node) && std::ranges::count(c.nodes, node) != 0)
      hit.push_back(id);
  for (const auto& id : hit)
    fail_one(id, world_.status_of_loss);
}

} // namespace troupe::shepherd
