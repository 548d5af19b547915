// SPDX-License-Identifier: Apache-2.0
#include "actors/task.hpp"

// A task's streamed input.

namespace troupe::actors {

/// It came, or came again after a reconnect: its store says how far it is.
void task_state::take_input(take_stream& what) {
  unique_fd to{what.descriptor};
  unique_fd store{what.store};
  auto& input = inputs_[what.element];
  input.id = what.stream;
  if (input.closed) { // its launcher may not have heard so
    tell(launcher_, cap_, drop_stream{what.stream});
    return;
  }
  if (auto ok = input_pump_->add(what.stream, std::move(to), std::move(store)); !ok) {
    const auto passes = ok.error().code == errc::exhausted;
    world_.log->log(passes ? spdlog::level::warn : spdlog::level::err, "{}: {}", display_name(),
                    ok.error().text);
    if (passes) {
      inputs_.erase(what.element); // its writer waits until it is lent again
      tell(launcher_, cap_, lend_again{what.stream});
      return;
    }
    input.closed = true;
    tell(launcher_, cap_, drop_stream{what.stream});
  }
  answer_writers();
}

auth::checked<void> task_state::may_write(const verified_capability& cap) const {
  return cap.permits(verb::job_submit, verb::job_submit, uid_, group_.job, world_.clock.now());
}

caf::result<input_taken> task_state::write(request<write_input>& what) {
  if (auto ok = may_write(what.cap); !ok)
    return auth::to_caf(ok.error());
  auto taken = try_write(what.msg);
  if (!taken)
    return auth::to_caf(taken.error());
  if (*taken)
    return **taken;
  // A writer that came back asks again: its former question has nobody to be answered to.
  std::erase_if(writing_, [&](waiting_write& former) {
    if (former.what.msg.element != what.msg.element)
      return false;
    former.promise.deliver(
        auth::to_caf(error{errc::conflict, "another writer gives this input now"}));
    return true;
  });
  auto promise = self_->make_response_promise<input_taken>();
  writing_.push_back({std::move(what), promise});
  recheck_later();
  return promise;
}

/// What can be said now; nothing while the writer has to wait. It may be tried as often as wished.
expected<std::optional<input_taken>> task_state::try_write(const write_input& what) {
  const auto at = inputs_.find(what.element);
  if (at == inputs_.end())
    return group_over_ ? std::optional{input_taken{what.offset, true}} : std::nullopt;
  auto& input = at->second;
  if (input.closed || group_over_)
    return input_taken{input.bytes, true};
  if (what.size)
    input_pump_->resize(input.id, what.size->rows, what.size->columns);
  auto taken = input_pump_->give(input.id, what.offset, what.data);
  if (!taken)
    return tl::unexpected{taken.error()};
  input.bytes = std::max(input.bytes, taken->bytes);
  input.closed = taken->closed;
  const bool all = taken->bytes >= what.offset + what.data.size();
  if (!input.closed && (!all || (what.ends && !taken->drained)))
    return std::nullopt;
  if (!input.closed && what.ends) {
    input.closed = true;
    input_pump_->remove(input.id);
    tell(launcher_, cap_, drop_stream{input.id});
  }
  return input_taken{input.bytes, input.closed};
}

void task_state::answer_writers() {
  std::erase_if(writing_, [this](waiting_write& waiting) {
    if (refused(waiting))
      return true;
    auto taken = try_write(waiting.what.msg);
    if (!taken)
      waiting.promise.deliver(auth::to_caf(taken.error()));
    else if (*taken)
      waiting.promise.deliver(**taken);
    return !taken || *taken;
  });
  if (group_over_)
    answer_waiting();
}

void task_state::recheck_writers() {
  std::erase_if(writing_, [this](waiting_write& waiting) { return refused(waiting); });
}

/// A writer whose capability has expired or was revoked while it waited is told so.
bool task_state::refused(waiting_write& waiting) {
  auto ok = may_write(waiting.what.cap);
  if (ok)
    return false;
  if (world_.audit_refusal)
    world_.audit_refusal(typeid(write_input).name(), waiting.what.cap, ok.error());
  waiting.promise.deliver(auth::to_caf(ok.error()));
  return true;
}

} // namespace troupe::actors
