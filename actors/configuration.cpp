// SPDX-License-Identifier: Apache-2.0
#include "actors/configuration.hpp"

#include <fmt/format.h>

namespace troupe::actors {

configuration_state::configuration_state(self_pointer self, world& around,
                                         scheduler_actor scheduler,
                                         std::shared_ptr<cluster_config const> in_force)
    : self_{self}, world_{around}, scheduler_{std::move(scheduler)}, in_force_{
                                                                         std::move(in_force)} {}

config_actor::behavior_type configuration_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<config_actor>(
      guard, on<get_status>([this](request<get_status>&) {
        status_report report;
        report.actor = name;
        report.items.push_back({"file", in_force_->path});
        report.items.push_back({"queues", std::to_string(in_force_->queues.size())});
        report.items.push_back({"reloads", std::to_string(reloads_)});
        return report;
      }),
      on<show_config>([this](request<show_config>&) { return shown(); }),
      on<reload_config>([this](request<reload_config>& what) { return reload(what); }));
}

config_shown configuration_state::shown() const {
  return {in_force_->path, to_toml(*in_force_)};
}

caf::result<config_shown> configuration_state::reload(request<reload_config>& what) {
  auto path = in_force_->path;
  if (path.empty())
    path = world_.config.state_directory + "/troupe.toml";
  auto reading = read_config_file(path);
  if (!reading.config)
    return auth::to_caf(to_error(reading.problems));
  if (reading.config->nodes != in_force_->nodes)
    return auth::to_caf(
        error{errc::conflict, fmt::format("{}: [nodes] cannot change while the cluster is up; run "
                                          "'troupe down' and 'troupe up' for that",
                                          path)});
  auto config = std::make_shared<cluster_config const>(std::move(*reading.config));
  auto promise = self_->make_response_promise<config_shown>();
  ask(self_, scheduler_, what.cap, apply_config{config})
      .then(
          [this, promise, config](config_applied&) mutable {
            in_force_ = config;
            ++reloads_;
            world_.log->info("configuration: {} is in force", config->path);
            promise.deliver(shown());
          },
          [promise](caf::error& why) mutable { promise.deliver(why); });
  return promise;
}

} // namespace troupe::actors
