// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/say.hpp"
#include "tools/shepherd/shepherd.hpp"

// What ranks ask through PMIx. Answers can be given once only, but pass through functions that can
// be copied: they are held by shared pointers.

namespace troupe::shepherd {

using namespace std::chrono_literals;

namespace {

constexpr auto connect_margin = 200ms;

template <class Answer>
auto shared(Answer& answer) {
  return std::make_shared<Answer>(std::move(answer));
}

std::vector<std::uint8_t> joined(const std::vector<contribution>& parts) {
  std::vector<std::uint8_t> all;
  for (const auto& part : parts)
    all.insert(all.end(), part.data.begin(), part.data.end());
  return all;
}

std::vector<stored_value> to_stored(const std::vector<pmix::published_value>& values) {
  std::vector<stored_value> stored;
  for (const auto& each : values)
    stored.push_back({each.owner, each.key, each.value});
  return stored;
}

std::vector<pmix::published_value> to_published(const std::vector<stored_value>& values) {
  std::vector<pmix::published_value> published;
  for (const auto& each : values)
    published.push_back({each.owner, each.key, each.value});
  return published;
}

} // namespace

void shepherd::take_upcalls() {
  for (auto& call : upcalls_.take())
    std::visit([this](auto& each) { handle(std::move(each)); }, call);
}

void shepherd::handle(pmix::client_connected call) {
  note_rank(call.who, &local_rank::connected);
}

void shepherd::handle(pmix::client_finalized call) {
  note_rank(call.who, &local_rank::finalised);
  call.answer(PMIX_SUCCESS);
}

void shepherd::handle(pmix::abort_request call) {
  abort_step(call.who, call.status, std::move(call.message));
  call.answer(PMIX_SUCCESS);
}

void shepherd::abort_step(const process_name& who, std::int32_t status, std::string message) {
  const auto* step = steps_.find(who.nspace);
  if (step == nullptr)
    return;
  message.resize(std::min<std::size_t>(message.size(), 4096));
  abort said{step->about.step, who.rank, status, std::move(message)};
  to_agent frame;
  frame.abort = said;
  agent_.send(frame);
  // The first of a step is what ends it; the others need not be said again.
  if (std::ranges::none_of(aborts_, [&](const abort& each) { return each.step == said.step; }))
    aborts_.push_back(std::move(said));
}

void shepherd::handle(pmix::fence call) {
  collectives_.start({collective_kind::fence, std::move(call.participants), "",
                      std::move(call.data), std::chrono::seconds{call.timeout_s}},
                     [answer = shared(call.answer)](auto status, const auto& parts) {
                       (*answer)(status, joined(parts));
                     });
}

void shepherd::handle(pmix::connection call) {
  const auto kind = call.connects ? collective_kind::connect : collective_kind::disconnect;
  // The library (4.2) has a timer of its own, and an answer after it would be its end: ours is
  // earlier.
  steady::duration timeout = std::chrono::seconds{call.timeout_s};
  if (call.timeout_s != 0)
    timeout -= connect_margin;
  collectives_.start(
      {kind, std::move(call.participants), "", {}, timeout},
      [answer = shared(call.answer)](auto status, const auto&) { (*answer)(status); });
}

void shepherd::handle(pmix::group_request call) {
  const auto kind =
      call.constructs ? collective_kind::group_construct : collective_kind::group_destruct;
  // The lowest node's proposal becomes the context's number: unique, for its own index is in it.
  const auto proposal = (std::uint64_t{job_->node_index} << 32) | next_group_++;
  std::vector<std::uint8_t> data(sizeof proposal);
  store_le(data.data(), proposal);
  const auto members = call.constructs ? call.participants : std::vector<pmix::process>{};
  collectives_.start({kind, std::move(call.participants), call.name, std::move(data), {}},
                     [answer = shared(call.answer), wants = call.wants_context,
                      members](auto status, const auto& parts) {
                       pmix::info_list infos;
                       // PMIx 4 knows the members itself, 5 has no group without this.
                       if (status == 0 && !members.empty())
                         infos.processes(PMIX_GROUP_MEMBERSHIP, members);
#ifdef TROUPE_PMIX_HAS_GROUP_CONTEXT
                       if (status == 0 && wants && parts.front().data.size() == 8)
                         infos.size_value(PMIX_GROUP_CONTEXT_ID,
                                          load_le<std::uint64_t>(parts.front().data.data()));
#endif
                       (*answer)(status, std::move(infos));
                     });
}

void shepherd::handle(pmix::modex_request call) {
  const auto* step = steps_.find(call.whose.nspace);
  const auto node = step == nullptr ? 0 : step->node_of(call.whose.rank);
  if (step == nullptr || node >= step->about.nodes.size())
    return call.answer(PMIX_ERR_NOT_FOUND, {});
  auto done = [held = shared(call.answer)](const answer& from) {
    (*held)(from.status, from.values.empty() ? pmix::byte_vector{} : from.values.front().value);
  };
  const modex_ask ask{expect(node, done), call.whose};
  modex_asked_.emplace(ask.token, ask.whose);
  if (node == job_->node_index)
    return serve_modex(node, ask);
  peer_message message;
  message.modex_ask = ask;
  tell(node, message);
}

void shepherd::handle(pmix::modex_data call) {
  const auto at = modex_served_.find(call.token);
  if (at == modex_served_.end())
    return;
  const auto served = at->second;
  modex_served_.erase(at);
  answer_peer(served.node, served.token, call.status, {{served.whose, "", std::move(call.data)}});
}

void shepherd::handle(pmix::publish call) {
  publish_at_keeper({0, call.owner, call.range, call.persistence, to_stored(call.values)},
                    [held = shared(call.answer)](const answer& from) { (*held)(from.status); });
}

void shepherd::handle(pmix::lookup call) {
  lookup_at_keeper({0, call.who, call.range, call.waits, call.timeout_s, std::move(call.keys)},
                   [held = shared(call.answer)](const answer& from) {
                     (*held)(from.status, to_published(from.values));
                   });
}

void shepherd::handle(pmix::unpublish call) {
  unpublish_at_keeper({0, call.owner, call.range, std::move(call.keys)},
                      [held = shared(call.answer)](const answer& from) { (*held)(from.status); });
}

void shepherd::handle(pmix::spawn call) {
  spawn_request request;
  request.parent = call.who;
  request.apps = std::move(call.apps);
  request.options = std::move(call.options);
  ask_spawn(std::move(request), [held = shared(call.answer)](const spawn_answer& from) {
    if (!from.error.empty())
      say("a spawn was refused: %s", from.error.c_str());
    (*held)(from.error.empty() ? PMIX_SUCCESS : PMIX_ERR_JOB_FAILED_TO_LAUNCH, from.nspace);
  });
}

void shepherd::ask_spawn(spawn_request request, std::function<void(const spawn_answer&)> done) {
  const auto number = next_token_++;
  request.request = number;
  to_agent frame;
  frame.spawn_request = request;
  spawns_.emplace(number, pending_spawn{std::move(request), std::move(done)});
  agent_.send(frame);
}

void shepherd::handle(pmix::event call) {
  const bool is_local = call.range == PMIX_RANGE_LOCAL || call.range == PMIX_RANGE_PROC_LOCAL;
  if (is_local)
    return;
  peer_message message;
  message.event_notice = event_notice{call.code, call.source, call.range, std::move(call.infos)};
  tell_all(message);
}

/// Words for standard output and error land where the rank's own do; all others are for the job's
/// log. The rank goes on when they are written.
void shepherd::handle(pmix::log_request call) {
  auto* step = steps_.find(call.who.nspace);
  auto* rank = step == nullptr ? nullptr : step->find(call.who.rank);
  struct progress {
    decltype(call.answer) answer;
    std::size_t left;
    bool good = true;
  };
  auto state =
      std::make_shared<progress>(progress{std::move(call.answer), call.entries.size() + 1});
  const auto one_done = [state](bool good) {
    state->good = state->good && good;
    if (--state->left == 0)
      state->answer(state->good ? PMIX_SUCCESS : PMIX_ERROR);
  };
  for (auto& entry : call.entries) {
    if (rank != nullptr && entry.channel == log_channel::standard_output && rank->output) {
      rank->output->write(entry.text, one_done);
      continue;
    }
    if (rank != nullptr && entry.channel == log_channel::standard_error && rank->error_output) {
      rank->error_output->write(entry.text, one_done);
      continue;
    }
    to_agent frame;
    entry.text.resize(std::min(entry.text.size(), log_bytes_max));
    frame.log = log{call.who, entry.channel, std::move(entry.text)};
    agent_.send(frame);
    one_done(true);
  }
  one_done(true);
}

void shepherd::handle(pmix::control_request call) {
  const auto* step =
      steps_.find(call.targets.empty() ? call.who.nspace : call.targets.front().nspace);
  if (step == nullptr || call.signal == 0)
    return call.answer(step == nullptr ? PMIX_ERR_NOT_FOUND : PMIX_ERR_NOT_SUPPORTED, {});
  signal_request asked{step->about.step, call.signal, {}};
  for (const auto& target : call.targets)
    if (target.rank != pmix::rank_wildcard)
      asked.ranks.push_back(target.rank);
  to_agent frame;
  frame.signal_request = std::move(asked);
  agent_.send(frame);
  call.answer(PMIX_SUCCESS, {});
}

void shepherd::handle(pmix::taken_note call) {
  auto* step = steps_.find(static_cast<std::uint32_t>(call.token));
  if (call.status != PMIX_SUCCESS)
    return fail("the PMIx library did not take step " + std::to_string(call.token) + ": " +
                pmix::status_text(call.status));
  if (step != nullptr)
    step_is_ready(*step);
}

} // namespace troupe::shepherd
