// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/say.hpp"
#include "tools/shepherd/shepherd.hpp"

#include "runtime/pmix/convert.hpp"

// The shepherds of the job's other nodes.

namespace troupe::shepherd {

using namespace std::chrono_literals;

namespace {

/// Beyond what the one who asks allows; enough for a trouped that is killed and comes back.
constexpr auto keeper_patience = 20s;

} // namespace

void shepherd::take_peer(std::uint32_t node, peer_message message) {
  if (message.collective_part)
    collectives_.take(node, std::move(*message.collective_part));
  if (message.collective_doubt)
    collectives_.take(node, *message.collective_doubt);
  if (message.collective_failed)
    collectives_.take(node, *message.collective_failed);
  if (message.modex_ask)
    serve_modex(node, *message.modex_ask);
  // What this one keeps, for whoever believes that it does.
  if (const auto& ask = message.publish_ask)
    answer_peer(node, ask->token, published_.publish(*ask), {});
  if (const auto& ask = message.lookup_ask)
    published_.lookup(*ask, [this, node, token = ask->token](std::int32_t status,
                                                             std::vector<stored_value> values) {
      answer_peer(node, token, status, std::move(values));
    });
  if (const auto& ask = message.unpublish_ask) {
    published_.unpublish(*ask);
    answer_peer(node, ask->token, PMIX_SUCCESS, {});
  }
  if (message.answer)
    take_answer(*message.answer);
  if (message.event_notice && server_) {
    auto& notice = *message.event_notice;
    server_->notify({notice.code, notice.source, notice.range, std::move(notice.infos)});
  }
  if (message.end_notice)
    rank_is_gone(*message.end_notice, node);
}

void shepherd::tell(std::uint32_t node, const peer_message& message) {
  if (node != job_->node_index)
    return peers_.send(node, message);
  // To itself by the same way, so that there is one way; encoding costs little beside PMIx.
  auto copy = from_cbor<peer_message>(to_cbor(message));
  if (copy)
    take_peer(node, std::move(*copy));
}

void shepherd::tell_all(const peer_message& message) {
  for (const auto node : steps_.nodes_with_ranks())
    if (node != job_->node_index)
      peers_.send(node, message);
}

std::uint64_t shepherd::expect(std::uint32_t node, publisher done, steady::time_point until) {
  const auto token = next_token_++;
  expected_.emplace(token, expected_answer{node, std::move(done), until});
  answers_due_ = std::min(answers_due_, until);
  return token;
}

void shepherd::take_answer(const answer& from) {
  const auto at = expected_.find(from.token);
  if (at == expected_.end())
    return;
  const auto done = std::move(at->second.done);
  expected_.erase(at);
  modex_asked_.erase(from.token);
  done(from);
}

void shepherd::give_up_asks(steady::time_point now) {
  if (now < answers_due_)
    return;
  std::vector<std::uint64_t> over;
  answers_due_ = steady::time_point::max();
  for (const auto& [token, asked] : expected_)
    if (now >= asked.until)
      over.push_back(token);
    else
      answers_due_ = std::min(answers_due_, asked.until);
  for (const auto token : over)
    take_answer({token, PMIX_ERR_TIMEOUT, {}});
}

/// What was published there is lost, and what its ranks had put.
void shepherd::take_gone(const peer_gone& what) {
  if (!what.replaced)
    peers_.drop(what.node);
  std::vector<std::uint64_t> unanswered;
  for (const auto& [token, asked] : expected_)
    if (asked.node == what.node)
      unanswered.push_back(token);
  for (const auto token : unanswered)
    take_answer({token, PMIX_ERR_NOT_FOUND, {}});
}

void shepherd::answer_peer(std::uint32_t node, std::uint64_t token, std::int32_t status,
                           std::vector<stored_value> values) {
  peer_message message;
  message.answer = answer{token, status, std::move(values)};
  tell(node, message);
}

void shepherd::serve_modex(std::uint32_t node, const modex_ask& ask) {
  auto* step = steps_.find(ask.whose.nspace);
  const auto* rank = step == nullptr ? nullptr : step->find(ask.whose.rank);
  if (rank == nullptr || !server_ || (rank->ended && !rank->connected))
    return answer_peer(node, ask.token, PMIX_ERR_NOT_FOUND, {});
  const auto token = next_token_++;
  modex_served_.emplace(token, served_modex{node, ask.token, ask.whose});
  server_->request_modex(ask.whose, token);
}

void shepherd::publish_at_keeper(publish_ask ask, publisher done) {
  const auto keeper = steps_.keeper_of(ask.owner.nspace);
  if (job_->node_index == keeper)
    return done({ask.token, published_.publish(ask), {}});
  ask.token = expect(keeper, std::move(done), steady::now() + keeper_patience);
  peer_message message;
  message.publish_ask = std::move(ask);
  tell(keeper, message);
}

void shepherd::lookup_at_keeper(lookup_ask ask, publisher done) {
  const auto keeper = steps_.keeper_of(ask.who.nspace);
  if (job_->node_index == keeper)
    return published_.lookup(ask, [token = ask.token, done = std::move(done)](
                                      std::int32_t status, std::vector<stored_value> values) {
      done({token, status, std::move(values)});
    });
  auto until = steady::time_point::max(); // for as long as it takes
  if (!ask.waits || ask.timeout_s != 0)
    until = steady::now() + keeper_patience + std::chrono::seconds{ask.timeout_s};
  ask.token = expect(keeper, std::move(done), until);
  peer_message message;
  message.lookup_ask = std::move(ask);
  tell(keeper, message);
}

void shepherd::unpublish_at_keeper(unpublish_ask ask, publisher done) {
  const auto keeper = steps_.keeper_of(ask.owner.nspace);
  if (job_->node_index == keeper) {
    published_.unpublish(ask);
    return done({ask.token, PMIX_SUCCESS, {}});
  }
  ask.token = expect(keeper, std::move(done), steady::now() + keeper_patience);
  peer_message message;
  message.unpublish_ask = std::move(ask);
  tell(keeper, message);
}

/// A rank ended, here or elsewhere: nothing waits for it any more.
void shepherd::rank_is_gone(const end_notice& what, std::uint32_t node) {
  const auto* step = steps_.find(what.step);
  if (step == nullptr)
    return;
  const auto who = step->name_of(what.rank);
  collectives_.rank_ended(who, node);
  published_.rank_ended(who);
  std::vector<std::uint64_t> asked;
  for (const auto& [token, whose] : modex_asked_)
    if (whose == who)
      asked.push_back(token);
  for (const auto token : asked)
    take_answer({token, PMIX_ERR_NOT_FOUND, {}});
  for (auto at = modex_served_.begin(); at != modex_served_.end();) {
    const auto served = at->second;
    at = served.whose == who ? modex_served_.erase(at) : std::next(at);
    if (served.whose == who)
      answer_peer(served.node, served.token, PMIX_ERR_NOT_FOUND, {});
  }
  const bool failed = what.exit_code != 0 || what.signal != 0;
  if (failed && step->about.notify_failures)
    notify_failure(*step, what);
}

/// Where the job goes on without the rank, its peers learn of it by an event.
void shepherd::notify_failure(const step_state& step, const end_notice& what) {
  if (!server_)
    return;
  const auto who = step.name_of(what.rank);
  pmix::info_list infos;
  infos.process_value(PMIX_EVENT_AFFECTED_PROC, who);
  infos.whole_number(PMIX_EXIT_CODE,
                     what.signal != 0 ? 128 + static_cast<int>(what.signal) : what.exit_code);
  server_->notify({PMIX_ERR_PROC_ABORTED, who, PMIX_RANGE_SESSION,
                   pmix::pack_infos({infos.data(), infos.size()})});
}

} // namespace troupe::shepherd
