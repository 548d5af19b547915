// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/held_capability.hpp"
#include "base/clock.hpp"
#include "messages/calls.hpp"
#include "messages/json.hpp"
#include "runtime/varlink/client.hpp"

#include <chrono>
#include <memory>
#include <span>
#include <string>

namespace troupe::cli {

/// A reply as it came, beside its struct: what --json prints.
template <class Reply>
struct answered {
  Reply value;
  std::string json;
};

/// A connection to the cluster, and the capability it works under. The key that holds the
/// capability is made here, lives in locked memory and goes with the session.
class session {
public:
  /// Connects without asking for a capability: enough for org.troupe.cluster.Summary.
  static expected<session> connect_to(const std::string& socket,
                                      std::chrono::milliseconds deadline = connect_deadline);

  /// Connects, asks for a capability and proves to hold it; with a `capability_file`, for none but
  /// the one in there. Where the state directory's trouped lives and does not listen, as one that
  /// starts itself over, that is waited for, up to `start_deadline`. Within a job a cluster that is
  /// away is waited for, for a minute at most: the job goes on while trouped is started again, and
  /// so must what it asks for.
  static expected<session> open(const std::string& capability_file);

  /// The same without waiting: for who tries again and looks after signals meanwhile.
  static expected<session> open_now(const std::string& capability_file);

  /// The same at a socket that is not the environment's to name: of one's own cluster.
  static expected<session> open_at(const std::string& socket, const std::string& capability_file);

  /// For what may wait for days: after `why` ended a call, another session in this one's place. At
  /// once when its time was over; while the cluster comes back, for a minute at most, when it went
  /// away; else `why` stands.
  expected<void> go_on_after(const error& why);

  /// Submits one job, and asks again with the same signed request when the answer was lost: it
  /// makes one job, whichever of them came through. Where that stays unknown the error says so.
  expected<answered<calls::submit::reply>> submit(const calls::submit& what);

  /// Calls a method of messages/calls.hpp and waits for its one reply. Silence is told, once.
  template <class Method>
  expected<answered<typename Method::reply>> call(const Method& what) {
    auto text = ask(Method::method, to_json_text(what, visibility::owner));
    if (!text)
      return tl::unexpected{text.error()};
    return decode<typename Method::reply>(std::move(*text));
  }

  /// Starts a call that answers several times; read the replies from `wire()`.
  template <class Method>
  expected<void> start_stream(const Method& what) {
    auto parameters = to_json_text(what, visibility::owner);
    varlink::call one;
    one.method = Method::method;
    one.parameters = parameters;
    one.more = true;
    return wire_.send(one);
  }

  /// Reads a reply's parameters.
  template <class Reply>
  static expected<answered<Reply>> decode(std::string text) {
    auto value = from_json_text<Reply>(text, reply_limits);
    if (!value)
      return fail(errc::internal, "the cluster's answer cannot be read: " + value.error().text);
    return answered<Reply>{std::move(*value), std::move(text)};
  }

  /// A narrower capability for a holder of its own, made from this session's.
  expected<auth::held_capability> delegate(auth::capability child) const;

  /// Signs the requests that go with these specs.
  expected<std::vector<signed_request>> sign(std::span<const job_spec> specs) const;

  varlink::client& wire() { return wire_; }
  const calls::hello::reply& greeting() const { return greeting_; }
  /// What this session acts under: a capability's bytes, alone or with a delegation's.
  const std::vector<std::uint8_t>& chain() const { return chain_; }
  const calls::present::reply& admission() const { return admission_; }
  /// Whether its time is over: what is refused now may be asked again in a new session.
  bool capability_ended() const { return utc() >= admission_.expires_utc_ns; }
  /// The cluster's wall clock as of this session's beginning, and what has passed since: what is
  /// signed here is judged over there, whose clock may differ from this machine's.
  utc_ns utc() const;

  static constexpr std::chrono::milliseconds connect_deadline{5000};
  static constexpr std::chrono::seconds start_deadline{10};
  static constexpr std::chrono::seconds silence_told_after{5};
  static constexpr std::chrono::seconds return_deadline{60};
  static constexpr std::chrono::milliseconds return_pause{100};
  static constexpr json_limits reply_limits{16u << 20, 256u << 20};

private:
  session(varlink::client wire, std::string socket)
      : wire_{std::move(wire)}, socket_{std::move(socket)} {}
  expected<std::string> ask(std::string_view method, std::string_view parameters);
  expected<void> open_again();
  expected<void> admit(const std::string& capability_file,
                       std::shared_ptr<const auth::key_pair> holder);
  std::vector<std::uint8_t> prove(const fixed_bytes<32>& own_nonce) const;

  varlink::client wire_;
  std::string socket_;
  std::string capability_file_;
  std::shared_ptr<const auth::key_pair> holder_;
  std::vector<std::uint8_t> chain_;
  calls::hello::reply greeting_;
  boot_ns greeted_at_ = 0;
  calls::present::reply admission_;
};

} // namespace troupe::cli
