// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/shell.hpp"

#include <optional>

namespace troupe::actors {

/// An answer that somebody waits for. Whoever lets go of it unanswered has answered with an error:
/// nobody waits for ever because a path forgot them.
template <class Answer>
class owed {
public:
  owed() = default;
  explicit owed(caf::typed_response_promise<Answer> promise) : promise_{std::move(promise)} {}
  owed(owed&& other) noexcept : promise_{std::exchange(other.promise_, std::nullopt)} {}
  owed& operator=(owed&& other) noexcept {
    if (this != &other) {
      drop();
      promise_ = std::exchange(other.promise_, std::nullopt);
    }
    return *this;
  }
  ~owed() { drop(); }

  void answer(Answer what) {
    if (auto promise = std::exchange(promise_, std::nullopt))
      promise->deliver(std::move(what));
  }
  void refuse(const caf::error& why) {
    if (auto promise = std::exchange(promise_, std::nullopt))
      promise->deliver(why);
  }
  void refuse(const error& why) { refuse(auth::to_caf(why)); }
  /// Somebody else answers.
  template <class Target, class M>
  void pass_on(const Target& target, request<M> what) {
    if (auto promise = std::exchange(promise_, std::nullopt))
      promise->delegate(target, std::move(what));
  }

private:
  void drop() {
    refuse(
        error{errc::conflict, "this can not be answered any more: it came to its end; ask again"});
  }

  std::optional<caf::typed_response_promise<Answer>> promise_;
};

} // namespace troupe::actors
