// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/world.hpp"
#include "auth/guard.hpp"

#include <caf/all.hpp>
#include <chrono>
#include <utility>

// The frame of every actor: a state struct with a `name`, its collaborators injected, and
// make_behavior() built by secure_behavior. The shell counts what comes in and goes out, observes
// the guard, and keeps an answered error from ending the actor.

namespace troupe::actors {

using auth::from_caf;
using auth::on;
using auth::secure_behavior;
using auth::verified_capability;

/// `State` has: `using interface = protocol<…>`, `static inline const char* name`, a constructor
/// (interface::pointer self, world&, Args…), `behavior_type make_behavior(auth::guard_observer&)`.
/// Optional: `std::string display_name() const`, `void on_stop()`.
template <class State>
class shell final : public State::interface::base, public auth::guard_observer {
public:
  using base = typename State::interface::base;
  using behavior_type = typename State::interface::behavior_type;

  template <class... Args>
  shell(caf::actor_config& config, world& around, std::uint64_t parent, Args... args)
      : base(config), world_{around} {
    this->set_error_handler(
        [this](caf::scheduled_actor*, caf::error& what) { note_error(from_caf(what)); });
    this->set_down_handler([](caf::scheduled_actor*, caf::down_msg&) {});
    this->set_exception_handler(
        [this](caf::scheduled_actor*, std::exception_ptr& thrown) { return failed(thrown); });
    state_ = std::make_unique<State>(this, around, std::move(args)...);
    counters_ = around.counters.add(this->id(), display_name(), parent);
    counters_->address = this->address();
  }

  const char* name() const override { return State::name; }

  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* unit) override {
    if (counters_)
      counters_->received.fetch_add(1, std::memory_order_relaxed);
    base::enqueue(std::move(what), unit);
  }

  caf::invoke_message_result consume(caf::mailbox_element& what) override {
    const auto begin = std::chrono::steady_clock::now();
    auto result = base::consume(what);
    const auto took = std::chrono::steady_clock::now() - begin;
    counters_->busy_ns.fetch_add(static_cast<std::uint64_t>(took.count()),
                                 std::memory_order_relaxed);
    counters_->consumed.fetch_add(1, std::memory_order_relaxed);
    return result;
  }

  behavior_type make_behavior() override { return state_->make_behavior(*this); }

  void on_exit() override {
    if constexpr (requires { state_->on_stop(); })
      state_->on_stop();
    state_.reset();
    world_.counters.remove(this->id());
  }

  // -- guard_observer --

  boot_time now() const override { return world_.clock.now(); }
  void admitted() override { counters_->admitted.fetch_add(1, std::memory_order_relaxed); }
  void refused(const char* message_type, const verified_capability& cap,
               const auth::refusal& why) override {
    counters_->refused.fetch_add(1, std::memory_order_relaxed);
    note_error(why);
    if (world_.audit_refusal)
      world_.audit_refusal(message_type, cap, why);
  }

private:
  /// A defect: the process starts over from what is durable, rather than go on without this actor.
  caf::error failed(const std::exception_ptr& thrown) {
    std::string text = "unknown";
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& defect) {
      text = defect.what();
    } catch (...) {
    }
    note_error({errc::internal, text});
    if (world_.on_failure)
      world_.on_failure(counters_->name, text);
    return auth::to_caf(error{errc::internal, text});
  }

  std::string display_name() const {
    if constexpr (requires { state_->display_name(); })
      return state_->display_name();
    else
      return State::name;
  }

  void note_error(const error& what) {
    counters_->note_error(what.text);
    world_.log->warn("{}: {}", counters_->name, what.text);
  }

  world& world_;
  std::unique_ptr<State> state_;
  std::shared_ptr<actor_counters> counters_;
};

/// Sends without expecting an answer.
template <class Target, class M>
void tell(const Target& target, const verified_capability& cap, M message) {
  if (target)
    caf::anon_send(target, request<M>{cap, std::move(message)});
}

/// Sends a tick to oneself, later.
template <class Self>
void tick_later(Self* self, world& around, std::chrono::nanoseconds delay,
                std::uint32_t timer = 0) {
  self->delayed_send(self, delay, request<tick>{around.timer_cap, tick{timer}});
}

/// Asks; `.then(on_answer, on_error)` handles what comes back.
template <class Self, class Target, class M>
auto ask(Self* self, const Target& target, const verified_capability& cap, M message) {
  return self->request(target, caf::infinite, request<M>{cap, std::move(message)});
}

} // namespace troupe::actors
