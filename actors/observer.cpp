// SPDX-License-Identifier: Apache-2.0
#include "actors/observer.hpp"

#include <fmt/format.h>

namespace troupe::actors {

namespace {

/// An actor that does not answer within this time is shown by its counters alone.
constexpr auto patience = std::chrono::seconds(2);

status_report report_of(const actor_counters& counters) {
  const auto row = counter_table::row_of(counters);
  status_report report;
  report.actor = row.name;
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("number", row.id);
  add("received", row.received);
  add("handled", row.handled);
  add("refused", row.refused);
  add("in its mailbox", row.mailbox);
  add("busy, us", row.busy_us);
  if (!row.last_error.empty())
    add("last error", row.last_error);
  return report;
}

} // namespace

observer_state::observer_state(self_pointer self, world& around, verified_capability cap)
    : self_{self}, world_{around}, cap_{std::move(cap)} {}

observer_actor::behavior_type observer_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<observer_actor>(
      guard, on<get_status>([this](request<get_status>&) {
        status_report report;
        report.actor = name;
        report.items.push_back({"actors", fmt::format("{}", world_.counters.rows().size())});
        return report;
      }),
      on<list_actors>([this](request<list_actors>&) { return actor_rows{world_.counters.rows()}; }),
      on<show_actor>([this](request<show_actor>& what) { return show(what); }));
}

caf::result<status_report> observer_state::show(request<show_actor>& what) {
  auto counters = world_.counters.find(what.msg.actor);
  if (!counters)
    return auth::to_caf(error{
        errc::not_found, fmt::format("there is no actor '{}'; 'ps' lists them", what.msg.actor)});
  auto target = caf::actor_cast<observed>(counters->address);
  if (!target || counters->address == self_->address())
    return report_of(*counters);
  auto promise = self_->make_response_promise<status_report>();
  self_->request(target, patience, request<get_status>{cap_, {what.msg.verbosity}})
      .then(
          [promise, counters](status_report& report) mutable {
            auto own = report_of(*counters);
            own.items.insert(own.items.end(), report.items.begin(), report.items.end());
            promise.deliver(std::move(own));
          },
          [promise, counters](caf::error& why) mutable {
            auto own = report_of(*counters);
            own.items.push_back({"its own status", from_caf(why).text});
            promise.deliver(std::move(own));
          });
  return promise;
}

} // namespace troupe::actors
