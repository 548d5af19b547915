// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

#include <algorithm>
#include <fmt/format.h>

// Steps of a running job: started, signalled, and given input, as jobs are.

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

/// Waits for the job's start when it has none yet.
void client_state::write_input(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::write_input>(parameters, slot);
  if (!call)
    return;
  const locate_element where{call->job, call->element, call->step};
  auto what = std::make_shared<calls::write_input>(std::move(*call));
  forward(to_->scheduler, where, slot,
          [this, slot, what](element_location& at) { write_located(*what, at, slot); });
}

void client_state::write_located(calls::write_input& what, const element_location& where,
                                 const slot_ptr& slot) {
  if (!where.streams_input) {
    answer_error(slot, {errc::conflict,
                        fmt::format("job {} reads no streamed input: it was started with a file, "
                                    "or with none",
                                    what.job)});
    return;
  }
  const auto first = std::find_if(where.parts.begin(), where.parts.end(), [](const auto& part) {
    return part.ranks > 0 && part.rank_of(0) == 0;
  });
  if (where.exit || first == where.parts.end()) {
    answer(slot, calls::write_input::reply{what.offset, true});
    return;
  }
  if (!to_->nodes.contains(first->node)) {
    answer_error(slot,
                 {errc::unreachable, fmt::format("the node of job {} is not there", what.job)});
    return;
  }
  troupe::write_input message;
  message.group = {what.job, where.incarnation, what.step};
  message.element = what.element;
  message.offset = what.offset;
  message.data = std::move(what.data);
  message.ends = what.ends;
  message.size = what.terminal;
  forward(to_->nodes.at(first->node), std::move(message), slot, [this, slot](input_taken& taken) {
    answer(slot, calls::write_input::reply{taken.offset, taken.closed});
  });
}

} // namespace troupe::actors
