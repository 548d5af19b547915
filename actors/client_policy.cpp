// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

// When a job would start; org.troupe.queues and config.

namespace troupe::actors {

/// What is still to be told of one call that only checks.
struct client_state::job_checks {
  slot_ptr slot;
  std::vector<job_spec> specs;
  job_identity identity;
  calls::submit::reply reply; ///< of as many as have been checked
};

/// Says of each spec when and where it would start, or why it would not be taken.
void client_state::check_jobs(std::vector<job_spec> specs, const slot_ptr& slot) {
  auto of = std::make_shared<job_checks>();
  of->slot = slot;
  of->specs = std::move(specs);
  forward(to_->authority, describe_caller{}, slot, [this, of](caller_described& caller) {
    of->identity = std::move(caller.identity);
    check_next(of);
  });
}

/// One after the other: each may cost the planner a look at the whole queue, and others have
/// questions, too.
void client_state::check_next(const std::shared_ptr<job_checks>& of) {
  auto& done = of->reply.jobs;
  const auto refused = [of](const error& why) {
    of->reply.jobs.emplace_back().error = calls::failure{to_string(why.code), why.text};
  };
  std::shared_ptr<job_spec const> next;
  while (!closed_ && !next && done.size() < of->specs.size()) {
    auto& spec = of->specs[done.size()];
    if (auto ok = validate(spec); !ok)
      refused(ok.error());
    else
      next = std::make_shared<job_spec const>(std::move(spec));
  }
  if (!next) {
    answer(of->slot, of->reply);
    return;
  }
  self_
      ->request(to_->scheduler, caf::infinite,
                request<check_job>{cap_, {std::move(next), of->identity}})
      .then(
          [this, of](start_forecast& forecast) {
            of->reply.jobs.emplace_back().forecast = std::move(forecast);
            check_next(of);
          },
          [this, of, refused](caf::error& why) {
            refused(from_caf(why));
            check_next(of);
          });
}

void client_state::queues(std::string_view, const slot_ptr& slot) {
  forward(to_->scheduler, list_queues{}, slot, [this, slot](queue_rows& rows) {
    answer(slot, calls::queues::reply{std::move(rows.queues)});
  });
}

void client_state::reservations(std::string_view, const slot_ptr& slot) {
  forward(to_->scheduler, list_reservations{}, slot, [this, slot](reservation_rows& rows) {
    answer(slot, calls::reservations_reply{std::move(rows.reservations)});
  });
}

void client_state::reserve(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::reserve>(parameters, slot))
    forward(to_->scheduler, make_reservation{std::move(call->reservation)}, slot,
            [this, slot](reservation_rows& rows) {
              answer(slot, calls::reservations_reply{std::move(rows.reservations)});
            });
}

void client_state::unreserve(std::string_view parameters, const slot_ptr& slot) {
  if (auto call = parse<calls::unreserve>(parameters, slot))
    forward(to_->scheduler, drop_reservation{std::move(call->name)}, slot,
            [this, slot](reservation_rows& rows) {
              answer(slot, calls::reservations_reply{std::move(rows.reservations)});
            });
}

void client_state::config_show(std::string_view, const slot_ptr& slot) {
  forward(to_->config, show_config{}, slot, [this, slot](config_shown& shown) {
    answer(slot, calls::config_reply{std::move(shown.path), std::move(shown.text)});
  });
}

void client_state::config_reload(std::string_view, const slot_ptr& slot) {
  forward(to_->config, reload_config{}, slot, [this, slot](config_shown& shown) {
    answer(slot, calls::config_reply{std::move(shown.path), std::move(shown.text)});
  });
}

} // namespace troupe::actors
