// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/verifier.hpp"

#include <caf/all.hpp>
#include <concepts>
#include <fmt/format.h>
#include <optional>
#include <type_traits>

// What stands between a message and its handler. A request carries its sender's verified
// capability; policy<M> says which verbs and subjects may send M and which resource it is about;
// secure_behavior, the only way in which actors build their behaviour, does not compile for a
// handler without a policy or for an interface whose message comes without a capability. It stops
// mistakes, not code that runs in this process. A header of its own, because only actors link CAF.

namespace troupe::auth {

/// A set of subject kinds.
struct kind_set {
  std::uint8_t bits = 0;
  constexpr bool has(subject_kind kind) const {
    return (bits & (1u << static_cast<unsigned>(kind))) != 0;
  }
};

template <class... Kinds>
constexpr kind_set kinds(Kinds... each) {
  return {static_cast<std::uint8_t>(((1u << static_cast<unsigned>(each)) | ... | 0u))};
}

/// What a message is about, as far as it says so by itself.
struct resource_ref {
  resource_kind kind = resource_kind::any; ///< any: nothing in particular
  std::uint64_t id = 0;

  static resource_ref none() { return {}; }
  static resource_ref job(std::uint64_t id) { return {resource_kind::jobs, id}; }
};

/// A message under the capability it is sent with.
template <class M>
struct request {
  using message = M;
  verified_capability cap;
  M msg;
};

/// Who may send M; specialised once for each message (messages/policies.hpp).
template <class M>
struct policy;

/// One verb allows it.
template <verb Verb, kind_set Kinds>
struct allow {
  static constexpr verb own = Verb;
  static constexpr verb any = Verb;
  static constexpr kind_set subjects = Kinds;
  template <class M>
  static resource_ref resource(const M&) {
    return resource_ref::none();
  }
};

/// `Own` allows it on what the subject owns (the handler asks `permits` with the owner it knows),
/// `Any` on everything.
template <verb Own, verb Any, kind_set Kinds>
struct allow_own_or_any {
  static constexpr verb own = Own;
  static constexpr verb any = Any;
  static constexpr kind_set subjects = Kinds;
  template <class M>
  static resource_ref resource(const M&) {
    return resource_ref::none();
  }
};

template <class M>
concept has_policy = requires(const M& message) {
  { policy<M>::own } -> std::convertible_to<verb>;
  { policy<M>::any } -> std::convertible_to<verb>;
  { policy<M>::subjects } -> std::convertible_to<kind_set>;
  { policy<M>::resource(message) } -> std::convertible_to<resource_ref>;
};

/// May this request be handled now? Clock, epoch, verb, subject and resource are looked at when the
/// message is handled, not when it was sent.
template <has_policy M>
checked<void> admit(const request<M>& what, boot_time now) {
  using rule = policy<M>;
  if (!what.cap)
    return refuse(reason::holder_unproven, "the message came without a capability");
  if (auto ok = what.cap.check(verb_set{rule::own, rule::any}, now); !ok)
    return ok;
  if (!rule::subjects.has(what.cap.who().kind))
    return refuse(reason::missing_verb,
                  fmt::format("a {} may not ask for this", to_string(what.cap.who().kind)));
  const auto about = rule::resource(what.msg);
  if (about.kind != resource_kind::any && !what.cap.covers(about.kind, about.id))
    return refuse(reason::outside_resource,
                  fmt::format("the capability does not reach job {}", about.id));
  return {};
}

// -- interfaces
// -------------------------------------------------------------------------------------

namespace detail {

template <class M, class Answer>
struct signature {
  using type = typename caf::replies_to<request<M>>::template with<Answer>;
};
template <class M>
struct signature<M, void> {
  using type = caf::reacts_to<request<M>>;
};

template <class T>
struct is_request : std::false_type {};
template <class M>
struct is_request<request<M>> : std::true_type {};

template <class Signature>
struct comes_with_capability : std::false_type {};
template <class M, class Out>
struct comes_with_capability<caf::typed_mpi<caf::detail::type_list<request<M>>, Out>>
    : std::true_type {};

template <class Interface>
struct all_come_with_capability;
template <class... Signatures>
struct all_come_with_capability<caf::typed_actor<Signatures...>>
    : std::conjunction<comes_with_capability<Signatures>...> {};

} // namespace detail

/// An actor's interface: for each message M, request<M> answered by M::answer.
template <class... Ms>
using protocol = caf::typed_actor<typename detail::signature<Ms, typename Ms::answer>::type...>;

// -- errors across actors
// -----------------------------------------------------------------------------

inline caf::error to_caf(const error& what) {
  return caf::error{static_cast<std::uint8_t>(what.code), caf::atom("troupe"),
                    caf::make_message(what.text)};
}

/// A refusal keeps its reason on the way, so that it is counted and audited where it is answered.
template <std::same_as<refusal> Refusal> // no braced error is one
caf::error to_caf(const Refusal& what) {
  return caf::error{static_cast<std::uint8_t>(what.code), caf::atom("troupe"),
                    caf::make_message(what.text, static_cast<std::uint8_t>(what.why))};
}

/// The refusal that an error of `to_caf` was made of; nothing for other errors.
inline std::optional<refusal> refusal_of(const caf::error& what) {
  if (what.category() != caf::atom("troupe") || what.context().size() != 2)
    return {};
  refusal result;
  result.code = static_cast<errc>(what.code());
  result.text = what.context().get_as<std::string>(0);
  result.why = static_cast<reason>(what.context().get_as<std::uint8_t>(1));
  return result;
}

/// CAF's own errors (an actor that is gone, a timeout) become sentences too.
inline error from_caf(const caf::error& what) {
  if (what.category() == caf::atom("troupe"))
    return {static_cast<errc>(what.code()), what.context().get_as<std::string>(0)};
  return {errc::unreachable,
          fmt::format("a part of the cluster did not answer (code {}); try again", what.code())};
}

// -- behaviours
// ---------------------------------------------------------------------------------------

/// What a guard tells: an actor's counters, and the audit chain.
class guard_observer {
public:
  virtual ~guard_observer() = default;
  virtual boot_time now() const = 0;
  virtual void admitted() = 0;
  virtual void refused(const char* message_type, const verified_capability& cap,
                       const refusal& why) = 0;
};

/// A handler of M behind its guard; made by `on` alone.
template <class M, class F>
class guarded {
public:
  using message = M;
  using answer = typename M::answer;
  using result_type = std::conditional_t<std::is_void_v<answer>, void, caf::result<answer>>;

  explicit guarded(F handle) : handle_{std::move(handle)} {}
  void observe(guard_observer* observer) { observer_ = observer; }

  result_type operator()(request<M>& what) {
    if (auto ok = admit(what, observer_->now()); !ok) {
      observer_->refused(typeid(M).name(), what.cap, ok.error());
      if constexpr (std::is_void_v<answer>)
        return;
      else
        return result_type{to_caf(ok.error())};
    }
    observer_->admitted();
    if constexpr (std::is_void_v<answer>)
      handle_(what);
    else
      return counted(convert(handle_(what)), what.cap);
  }

private:
  /// What only the handler could refuse (whose job is it?) counts like what the guard refused.
  template <class R>
  R counted(R result, const verified_capability& cap) {
    if (result.flag == caf::rt_error)
      if (auto why = refusal_of(result.err))
        observer_->refused(typeid(M).name(), cap, *why);
    return result;
  }
  static result_type convert(expected<answer>&& value) requires(!std::is_void_v<answer>) {
    if (value)
      return result_type{std::move(*value)};
    return result_type{to_caf(value.error())};
  }
  template <class T>
  static result_type convert(T&& value) {
    return result_type{std::forward<T>(value)};
  }

  F handle_;
  guard_observer* observer_ = nullptr;
};

/// Handles M with `handle(request<M>&)`, which returns its answer, an expected of it, a promise, or
/// nothing.
template <class M, class F>
guarded<M, F> on(F handle) {
  static_assert(has_policy<M>, "this message has no policy: add one to messages/policies.hpp");
  return guarded<M, F>{std::move(handle)};
}

namespace detail {
template <class T>
struct is_guarded : std::false_type {};
template <class M, class F>
struct is_guarded<guarded<M, F>> : std::true_type {};
} // namespace detail

/// The only way to build an actor's behaviour.
template <class Interface, class... Handlers>
typename Interface::behavior_type secure_behavior(guard_observer& observer, Handlers... handlers) {
  static_assert((detail::is_guarded<Handlers>::value && ...),
                "every handler stands behind a guard: write on<message>(…)");
  static_assert(detail::all_come_with_capability<Interface>::value,
                "a message of this interface comes without a capability: use protocol<…>");
  (handlers.observe(&observer), ...);
  return {std::move(handlers)...};
}

} // namespace troupe::auth

// In-process messages are never serialised: CAF is told so, type by type.
namespace caf {
template <class M>
struct allowed_unsafe_message_type<troupe::auth::request<M>> : std::true_type {};
template <class T>
requires requires {
  typename T::answer_tag;
}
struct allowed_unsafe_message_type<T> : std::true_type {};
} // namespace caf
