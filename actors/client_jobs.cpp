// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

#include "auth/domain.hpp"
#include "auth/seal.hpp"
#include "messages/exec.hpp"

#include <fmt/format.h>

// org.troupe.jobs: each method is decoded, asked under the session's capability, and answered.

namespace troupe::actors {

namespace {

constexpr std::size_t submissions_at_once_max = 4096;
/// One batch is signed while the one before it goes to the disk; what arrives meanwhile becomes the
/// next one.
constexpr std::uint32_t batches_under_way_max = 2;
/// Rows of one piece: the peer reads it while the next one is written.
constexpr std::uint32_t rows_in_a_piece = 500;
constexpr std::int64_t request_life_ns = 600 * ns_per_s;

calls::failure failure_of(const error& what) {
  return {to_string(what.code), what.text};
}

calls::change_reply reply_of(jobs_changed& changed) {
  calls::change_reply reply;
  reply.jobs = changed.jobs;
  reply.elements = changed.elements;
  for (const auto& each : changed.refused)
    reply.refused.push_back(failure_of(each));
  return reply;
}

} // namespace

// -- submit -----------------------------------------------------------------------

/// Requests for a peer that has no key: the connection's own key signs them.
expected<std::vector<signed_request>>
client_state::sign_here(const std::vector<job_spec>& specs) const {
  if (!connection_key_)
    return fail(errc::invalid, "each job needs a request signed by the holder of the capability; "
                               "'requests' is empty");
  const auto now = world_.clock.utc();
  std::vector<fixed_bytes<auth::job_request_size>> bodies;
  for (const auto& spec : specs) {
    auth::job_request made;
    made.cluster = world_.verifier.options().cluster;
    made.id = auth::random_bytes<16>();
    made.uid = cap_.who().uid;
    made.spec_digest = spec_digest(spec);
    made.elements = summary_of_elements(spec);
    made.may_spawn = may_spawn(spec);
    made.incarnations_max = incarnations_max(spec);
    made.not_before = now;
    made.not_after = now + request_life_ns;
    bodies.push_back(auth::encode(made));
  }
  std::vector<byte_view> views{bodies.begin(), bodies.end()};
  auto seals = auth::seal_batch(auth::domain::request, 0, connection_key_->secret().view(), views);
  if (!seals)
    return tl::unexpected<error>{seals.error()};
  std::vector<signed_request> result;
  for (std::size_t i = 0; i < bodies.size(); ++i)
    result.push_back({{bodies[i].begin(), bodies[i].end()}, std::move((*seals)[i])});
  return result;
}

void client_state::submit(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::submit>(parameters, slot);
  if (!call)
    return;
  if (call->jobs.empty()) {
    answer_error(slot, {errc::invalid, "no job is given in 'jobs'"});
    return;
  }
  if (call->check_only) {
    check_jobs(std::move(call->jobs), slot);
    return;
  }
  if (call->requests.empty()) {
    auto made = sign_here(call->jobs);
    if (!made) {
      answer_error(slot, made.error());
      return;
    }
    call->requests = std::move(*made);
  }
  if (call->requests.size() != call->jobs.size()) {
    answer_error(slot, {errc::invalid, fmt::format("{} jobs come with {} requests; each job needs "
                                                   "its own",
                                                   call->jobs.size(), call->requests.size())});
    return;
  }
  waiting_submit waiting;
  waiting.slot = slot;
  waiting.results.resize(call->jobs.size());
  for (std::size_t i = 0; i < call->jobs.size(); ++i) {
    if (auto ok = validate(call->jobs[i]); !ok) {
      waiting.results[i].error = failure_of(ok.error());
      continue;
    }
    waiting.places.push_back(i);
    waiting.submissions.push_back(
        {std::make_shared<job_spec const>(std::move(call->jobs[i])), std::move(call->requests[i])});
  }
  submits_.push_back(std::move(waiting));
  if (submits_.size() >= submissions_at_once_max)
    send_submits();
}

void client_state::send_submits_if_few() {
  if (submits_under_way_ < batches_under_way_max)
    send_submits();
}

/// Submissions that arrived together are warranted and kept together.
void client_state::send_submits() {
  if (submits_.empty())
    return;
  auto batch = std::make_shared<std::vector<waiting_submit>>(std::exchange(submits_, {}));
  request_warrants message;
  for (auto& waiting : *batch)
    for (auto& each : waiting.submissions)
      message.submissions.push_back(std::move(each));
  if (message.submissions.empty()) {
    for (auto& waiting : *batch)
      answer(waiting.slot, calls::submit::reply{std::move(waiting.results)});
    return;
  }
  ++submits_under_way_;
  self_->request(to_->authority, caf::infinite, request<request_warrants>{cap_, std::move(message)})
      .then([this, batch](warrants_issued& issued) { submit_warranted(batch, issued); },
            [this, batch](caf::error& why) {
              --submits_under_way_;
              for (auto& waiting : *batch)
                answer_failure(waiting.slot, why);
              send_submits_if_few();
            });
}

void client_state::submit_warranted(std::shared_ptr<std::vector<waiting_submit>> batch,
                                    warrants_issued& issued) {
  submit_jobs message;
  auto places = std::make_shared<std::vector<calls::submit::result*>>();
  std::vector<std::pair<fixed_bytes<16>, calls::submit::result*>> repeated;
  std::size_t next = 0;
  for (auto& waiting : *batch) {
    for (auto place : waiting.places) {
      auto& warrant = issued.jobs.at(next++);
      auto& result = waiting.results[place];
      if (!warrant) {
        result.error = failure_of(warrant.error());
        continue;
      }
      if (warrant->job == 0) {
        repeated.emplace_back(warrant->request_id, &result);
        continue;
      }
      message.jobs.push_back(std::move(*warrant));
      places->push_back(&result);
    }
  }
  auto missing = std::make_shared<std::size_t>(repeated.size() + 1);
  auto answer_all = [this, batch, missing] {
    if (--*missing > 0)
      return;
    --submits_under_way_;
    for (auto& waiting : *batch)
      answer(waiting.slot, calls::submit::reply{std::move(waiting.results)});
    send_submits_if_few();
  };
  for (const auto& [id, place] : repeated)
    tell_earlier(id, place, answer_all);
  if (message.jobs.empty()) {
    answer_all();
    return;
  }
  self_->request(to_->scheduler, caf::infinite, request<submit_jobs>{cap_, std::move(message)})
      .then(
          [places, answer_all](jobs_submitted& done) {
            for (std::size_t i = 0; i < places->size(); ++i) {
              if (done.jobs.at(i))
                (*places)[i]->job = *done.jobs[i];
              else
                (*places)[i]->error = failure_of(done.jobs[i].error());
            }
            answer_all();
          },
          [places, answer_all](caf::error& why) {
            for (auto* place : *places)
              place->error = failure_of(from_caf(why));
            answer_all();
          });
}

/// The same request again: it is answered with the job that it made the first time.
void client_state::tell_earlier(const fixed_bytes<16>& request_id, calls::submit::result* place,
                                std::function<void()> done) {
  self_->request(to_->ledger, caf::infinite, request<find_request>{cap_, {request_id}})
      .then(
          [place, done](request_found& found) {
            place->job = found.job;
            if (found.job == 0)
              place->error = failure_of({errc::conflict,
                                         "this request was used before, and no job of it has been "
                                         "recorded: it is on its way or it was refused; ask again, "
                                         "or sign a new request"});
            done();
          },
          [place, done](caf::error& why) {
            place->error = failure_of(from_caf(why));
            done();
          });
}

// -- changes ----------------------------------------------------------------------

void client_state::cancel(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::cancel>(parameters, slot);
  if (!call)
    return;
  if (call->reason.empty())
    call->reason = fmt::format("cancelled by {}", peer_text());
  forward(to_->scheduler, cancel_jobs{std::move(call->selector), std::move(call->reason)}, slot,
          [this, slot](jobs_changed& changed) { answer(slot, reply_of(changed)); });
}

void client_state::hold(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::hold>(parameters, slot))
    forward(to_->scheduler, hold_jobs{std::move(call->selector)}, slot,
            [this, slot](jobs_changed& changed) { answer(slot, reply_of(changed)); });
}

void client_state::release(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::release>(parameters, slot))
    forward(to_->scheduler, release_jobs{std::move(call->selector)}, slot,
            [this, slot](jobs_changed& changed) { answer(slot, reply_of(changed)); });
}

void client_state::modify(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::modify>(parameters, slot))
    forward(to_->scheduler, modify_jobs{std::move(call->selector), std::move(call->changes)}, slot,
            [this, slot](jobs_changed& changed) { answer(slot, reply_of(changed)); });
}

void client_state::signal(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::signal>(parameters, slot))
    forward(to_->scheduler, signal_jobs{std::move(call->selector), call->number}, slot,
            [this, slot](jobs_changed& changed) { answer(slot, reply_of(changed)); });
}

// -- questions --------------------------------------------------------------------

/// What is still to be told of one call of Queue.
struct client_state::queue_listing {
  slot_ptr slot;
  json_style style;
  list_queue asked;
  calls::rows_reply gathered; ///< of who wants one answer
};

namespace {

json_style style_of(bool brief) {
  return {visibility::public_, brief ? json_defaults::left_out : json_defaults::written};
}

} // namespace

void client_state::queue(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::queue>(parameters, slot);
  if (!call)
    return;
  auto of = std::make_shared<queue_listing>();
  of->slot = slot;
  of->style = style_of(call->brief);
  of->asked.selector = std::move(call->selector);
  if (slot->more)
    of->asked.rows_max = rows_in_a_piece;
  queue_part(of);
}

void client_state::queue_part(const std::shared_ptr<queue_listing>& of) {
  if (closed_)
    return;
  if (of->slot->more && !has_its_turn(of->slot)) {
    paused_.emplace_back([=, this] { queue_part(of); });
    return;
  }
  auto take = [this, of](job_rows& page) {
    if (!page.rows.empty())
      of->asked.after = page.rows.back().job;
    auto& all = of->gathered.rows;
    std::move(page.rows.begin(), page.rows.end(), std::back_inserter(all));
    if (!page.more) {
      answer(of->slot, of->gathered, of->style);
      return;
    }
    if (of->slot->more) {
      answer_part(of->slot, of->gathered, of->style);
      all.clear();
    }
    queue_part(of);
  };
  forward_large(to_->scheduler, list_queue{of->asked}, of->slot, std::move(take));
}

void client_state::show(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::show>(parameters, slot))
    ask_of_job(
        show_job{call->job, call->element},
        [this, slot](job_view& view) {
          answer(slot, calls::show::reply{std::move(view)}, visibility::owner);
        },
        [this, slot](const caf::error& why) { answer_failure(slot, why); });
}

void client_state::why(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::why>(parameters, slot))
    forward(to_->scheduler, why_job{call->job}, slot,
            [this, slot](why_view& view) { answer(slot, calls::why::reply{std::move(view)}); });
}

void client_state::wait(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::wait>(parameters, slot);
  if (!call)
    return;
  forward(to_->scheduler, await_jobs{std::move(call->targets)}, slot, [this, slot](job_ends& ends) {
    calls::wait::reply reply;
    for (auto& each : ends.ends)
      reply.ends.push_back({each.job, each.element, std::move(each.exit)});
    answer(slot, reply);
  });
}

} // namespace troupe::actors
