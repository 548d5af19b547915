// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/client.hpp"

// The parts of client_state that every method uses.

namespace troupe::actors {

/// Adds to a call's answer.
template <class F>
void client_state::say(const slot_ptr& slot, F append) {
  const auto before = slot->text.size();
  append(slot->text);
  held_ += slot->text.size() - before;
}

template <class Reply>
void client_state::answer(const slot_ptr& slot, const Reply& reply, json_style style) {
  if (!slot->oneway)
    say(slot, [&](auto& out) { varlink::append_reply(out, to_json_text(reply, style)); });
  slot->done = true;
  flush();
}

template <class Reply>
void client_state::answer_part(const slot_ptr& slot, const Reply& reply, json_style style) {
  say(slot, [&](auto& out) { varlink::append_continued_reply(out, to_json_text(reply, style)); });
  flush();
}

template <class Call>
std::optional<Call> client_state::parse(std::string_view parameters, const slot_ptr& slot) {
  auto parsed = from_json_text<Call>(parameters);
  if (!parsed) {
    answer_error(slot, parsed.error());
    return std::nullopt;
  }
  return std::move(*parsed);
}

/// Asks `target` under the session's capability; `on_answer` gets the answer, an error goes back.
template <class Target, class M, class F>
void client_state::forward(const Target& target, M message, const slot_ptr& slot, F on_answer) {
  self_->request(target, caf::infinite, request<M>{cap_, std::move(message)})
      .then(std::move(on_answer), [this, slot](caf::error& why) { answer_failure(slot, why); });
}

/// Asks the scheduler what it hands on to a job's actor. One that has just ended answers nothing:
/// asked again, the scheduler knows that, and the ledger answers.
template <class M, class F, class G>
void client_state::ask_of_job(M message, F on_answer, G on_error, int asked) {
  constexpr int asked_max = 5;
  auto again = message;
  self_->request(to_->scheduler, caf::infinite, request<M>{cap_, std::move(message)})
      .then(on_answer, [=, this](caf::error& why) {
        if (from_caf(why).code == errc::unreachable && asked < asked_max && !closed_)
          ask_of_job(again, on_answer, on_error, asked + 1);
        else
          on_error(why);
      });
}

/// The same for what may answer with many rows: few of them are under way at once.
template <class Target, class M, class F>
void client_state::forward_large(const Target& target, M message, const slot_ptr& slot,
                                 F on_answer) {
  ++large_under_way_;
  self_->request(target, caf::infinite, request<M>{cap_, std::move(message)})
      .then(
          [this, on_answer](typename M::answer& rows) {
            --large_under_way_;
            on_answer(rows);
          },
          [this, slot](caf::error& why) {
            --large_under_way_;
            answer_failure(slot, why);
          });
}

} // namespace troupe::actors
