// SPDX-License-Identifier: Apache-2.0
#include "actors/job/durable_writer.hpp"

#include <fmt/format.h>

namespace troupe::actors {

void durable_writer::attempt(append_entries what, keep kept, refuse refused) {
  ++in_flight_;
  ask(self_, ledger_, cap_, std::move(what))
      .then(
          [this, kept = std::move(kept)](entries_kept& answer) {
            --in_flight_;
            kept(answer);
            settled_();
          },
          [this, refused = std::move(refused)](caf::error& why) {
            --in_flight_;
            refused(from_caf(why));
            settled_();
          });
}

void durable_writer::insist(std::string what, make entries, keep kept) {
  insisted one{std::move(what), std::move(entries), std::move(kept)};
  if (refused_.empty())
    begin(std::move(one));
  else
    refused_.push_back(std::move(one));
}

void durable_writer::begin(insisted one) {
  auto entries = one.entries();
  if (!entries || entries->entries.empty())
    return none_refused();
  auto shared = std::make_shared<insisted>(std::move(one));
  attempt(
      std::move(*entries),
      [this, shared](const entries_kept& answer) {
        if (refused_.empty())
          wait_.reset();
        none_refused();
        shared->kept(answer);
      },
      [this, shared](const error& why) { again(std::move(*shared), why); });
}

void durable_writer::again(insisted one, const error& why) {
  if (refused_.empty()) {
    const auto wait = wait_.next();
    due_ = world_.clock.boot() + wait.count();
    const auto wait_s = std::chrono::duration_cast<std::chrono::seconds>(wait).count();
    refusal_ =
        fmt::format("cannot record {}, tried again after {} s: {}", one.what, wait_s, why.text);
    world_.log->error("job {}: cannot record {}: {}; trying again in {} s", job_, one.what,
                      why.text, wait_s);
  }
  refused_.push_back(std::move(one));
}

/// While something is tried again, it has been refused until there is an answer.
void durable_writer::none_refused() {
  if (refused_.empty())
    refusal_.clear();
}

void durable_writer::retry() {
  if (refused_.empty() || world_.clock.boot() < due_)
    return;
  for (auto count = refused_.size(); count > 0; --count) {
    auto one = std::move(refused_.front());
    refused_.pop_front(); // the others wait still: nothing is at rest until all are kept
    begin(std::move(one));
  }
}

} // namespace troupe::actors
