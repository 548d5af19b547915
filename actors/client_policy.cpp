// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

// When a job would start; org.troupe.queues and config.

namespace troupe::actors {

/// Says of each spec when and where it would start, or why it would not be taken.
void client_state::check_jobs(std::vector<job_spec> specs, const slot_ptr& slot) {
  auto shared = std::make_shared<std::vector<job_spec>>(std::move(specs));
  forward(to_->authority, describe_caller{}, slot, [this, shared, slot](caller_described& caller) {
    auto reply = std::make_shared<calls::submit::reply>();
    reply->jobs.resize(shared->size());
    auto missing = std::make_shared<std::size_t>(shared->size());
    for (std::size_t i = 0; i < shared->size(); ++i)
      check_job_of(std::make_shared<job_spec const>(std::move((*shared)[i])), caller.identity, i,
                   reply, missing, slot);
  });
}

void client_state::check_job_of(std::shared_ptr<job_spec const> spec, const job_identity& identity,
                                std::size_t place, std::shared_ptr<calls::submit::reply> reply,
                                std::shared_ptr<std::size_t> missing, const slot_ptr& slot) {
  auto done = [this, reply, missing, slot] {
    if (--*missing == 0)
      answer(slot, *reply);
  };
  auto refused = [reply, place, done](const error& why) {
    reply->jobs[place].error = calls::failure{to_string(why.code), why.text};
    done();
  };
  if (auto ok = validate(*spec); !ok) {
    refused(ok.error());
    return;
  }
  self_
      ->request(to_->scheduler, caf::infinite,
                request<check_job>{cap_, {std::move(spec), identity}})
      .then(
          [reply, place, done](start_forecast& forecast) {
            reply->jobs[place].forecast = std::move(forecast);
            done();
          },
          [refused](caf::error& why) { refused(from_caf(why)); });
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
