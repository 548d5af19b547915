// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

// Steps of a running job: started, and signalled.

namespace troupe::actors {

void client_state::run_step(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::run_step>(parameters, slot);
  if (!call)
    return;
  if (auto ok = validate(call->spec); !ok) {
    answer_error(slot, ok.error());
    return;
  }
  if (call->spec.step_of == 0) {
    answer_error(slot, {errc::invalid, "'step_of' names no job that this could be a step of"});
    return;
  }
  start_step message;
  message.job = call->spec.step_of;
  if (call->request) {
    message.what.request = std::move(*call->request);
  } else {
    auto made = sign_here({call->spec});
    if (!made) {
      answer_error(slot, made.error());
      return;
    }
    message.what.request = std::move(made->front());
  }
  message.what.spec = std::make_shared<job_spec const>(std::move(call->spec));
  forward(to_->scheduler, std::move(message), slot,
          [this, slot](step_begun& begun) { answer(slot, calls::run_step::reply{begun.step}); });
}

void client_state::signal_step(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::signal_step>(parameters, slot);
  if (!call)
    return;
  forward(to_->scheduler,
          troupe::signal_step{call->job, call->step, call->number, std::move(call->reason)}, slot,
          [this, slot](jobs_changed& changed) {
            calls::change_reply reply;
            reply.jobs = changed.jobs;
            reply.elements = changed.elements;
            answer(slot, reply);
          });
}

} // namespace troupe::actors
