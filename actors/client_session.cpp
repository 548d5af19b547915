// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

#include <algorithm>
#include <fmt/format.h>

// Who a connection speaks for. Hello and Present: a peer with a key of its own. A peer that calls
// without them is known by its connection: this side makes a key for it and holds its capability.

namespace troupe::actors {

namespace {

constexpr std::string_view mechanism_native = "native";

std::string role_of(const verified_capability& cap) {
  const auto& who = cap.who();
  if (who.kind != auth::subject_kind::user)
    return auth::to_string(who.kind);
  return std::string{auth::to_string(static_cast<auth::account_role>(who.role))};
}

} // namespace

void client_state::refuse_session(const slot_ptr& slot, const auth::refusal& why,
                                  const char* action) {
  tell(to_->authority, to_->gateway, note_refusal{peer_.uid, peer_text(), action, why.why});
  answer_error(slot, why, auth::to_string(why.why));
}

void client_state::hello(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::hello>(parameters, slot);
  if (!call)
    return;
  const auto& offered = call->mechanisms;
  if (!offered.empty() &&
      std::find(offered.begin(), offered.end(), mechanism_native) == offered.end()) {
    answer_error(slot, {errc::refused, "none of the mechanisms offered is known here; this server "
                                       "has: native"});
    return;
  }
  client_nonce_ = call->nonce;
  brings_capability_ = call->brings_capability;
  if (brings_capability_) {
    answer_hello(slot, {});
    return;
  }
  open_session message;
  message.uid = peer_.uid;
  message.gid = peer_.gid;
  message.pid = peer_.pid;
  message.holder = call->holder;
  message.mechanism = mechanism_native;
  message.role = call->role;
  self_
      ->request(to_->authority, caf::infinite,
                request<open_session>{to_->gateway, std::move(message)})
      .then([this, slot](session_opened& opened) { answer_hello(slot, std::move(opened)); },
            [this, slot](caf::error& why) { answer_failure(slot, why); });
}

void client_state::answer_hello(const slot_ptr& slot, session_opened opened) {
  calls::hello::reply reply;
  reply.cluster = world_.config.cluster_name;
  reply.cluster_id = world_.verifier.options().cluster;
  reply.version = world_.config.version;
  reply.mechanism = mechanism_native;
  reply.role = std::move(opened.role);
  server_nonce_ = world_.verifier.challenge(world_.clock.now());
  reply.nonce = *server_nonce_;
  reply.audience = world_.verifier.options().meant_for.bytes();
  reply.capability = std::move(opened.capability);
  reply.time_utc_ns = world_.clock.utc();
  answer(slot, reply, visibility::operator_);
}

void client_state::present(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::present>(parameters, slot);
  if (!call)
    return;
  auth::holder_proof proof;
  if (!server_nonce_ || call->proof.size() != proof.sig.size()) {
    auth::refusal why;
    why.code = errc::refused;
    why.why = auth::reason::holder_unproven;
    why.text = server_nonce_ ? "the proof has the wrong length; it is a signature of 64 bytes"
                             : "there is no challenge to prove anything for; call Hello first";
    refuse_session(slot, why, "present");
    return;
  }
  proof.server_nonce = *std::exchange(server_nonce_, std::nullopt);
  proof.client_nonce = client_nonce_;
  std::copy(call->proof.begin(), call->proof.end(), proof.sig.begin());
  bytes chain;
  for (const auto& link : call->chain)
    chain.insert(chain.end(), link.begin(), link.end());
  auto admitted = world_.verifier.admit(chain, proof, world_.clock.read());
  if (!admitted) {
    refuse_session(slot, admitted.error(), "present");
    return;
  }
  if (admitted->who().uid != peer_.uid) {
    auth::refusal why;
    why.code = errc::refused;
    why.why = auth::reason::uid_mismatch;
    why.text = fmt::format("the capability is for uid {}, but uid {} presents it",
                           admitted->who().uid, peer_.uid);
    refuse_session(slot, why, "present");
    return;
  }
  cap_ = std::move(*admitted);
  if (brings_capability_)
    note_admitted(chain);
  calls::present::reply reply;
  reply.uid = cap_.who().uid;
  reply.role = role_of(cap_);
  reply.expires_utc_ns = cap_.expires();
  answer(slot, reply);
}

/// A login is in the audit chain already; what was granted in another session comes there now.
void client_state::note_admitted(byte_view chain) {
  note_admission what{peer_.uid, peer_text(), auth::to_hex(cap_.serial()), {}};
  const auto parts = auth::split_chain(chain);
  if (parts && !parts->delegation.empty())
    if (auto parent = auth::decode_body(parts->parent.first(auth::capability_layout::body_size)))
      what.parent = auth::to_hex(parent->serial);
  tell(to_->authority, to_->gateway, std::move(what));
}

/// The peer speaks without a session: its connection is the holder.
void client_state::login_unasked() {
  if (logging_in_)
    return;
  logging_in_ = true;
  connection_key_ = std::make_shared<auth::key_pair const>(auth::key_pair::generate());
  open_session message;
  message.uid = peer_.uid;
  message.gid = peer_.gid;
  message.pid = peer_.pid;
  message.holder = connection_key_->public_part();
  message.mechanism = mechanism_native;
  auto go_on = [this] {
    logging_in_ = false;
    for (auto& each : std::exchange(deferred_, {})) {
      if (cap_)
        (this->*each.handle)(each.parameters, each.slot);
      else
        answer_error(each.slot, {errc::refused, "no session could be opened for this connection"});
    }
    send_submits();
    resume_reading();
  };
  self_
      ->request(to_->authority, caf::infinite,
                request<open_session>{to_->gateway, std::move(message)})
      .then(
          [this, go_on](session_opened& opened) {
            auto admitted = world_.verifier.admit_held(opened.capability, *connection_key_,
                                                       world_.clock.read());
            if (admitted)
              cap_ = std::move(*admitted);
            go_on();
          },
          [this, go_on](caf::error& why) {
            for (auto& each : std::exchange(deferred_, {}))
              answer_failure(each.slot, why);
            go_on();
          });
}

void client_state::keys(std::string_view, const slot_ptr& slot) {
  forward(to_->authority, list_keys{}, slot, [this, slot](key_rows& rows) {
    answer(slot, calls::keys::reply{rows.version, std::move(rows.keys)});
  });
}

void client_state::revoke(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::revoke>(parameters, slot);
  if (!call)
    return;
  forward(
      to_->authority, revoke_capabilities{call->serial, call->uid, call->job}, slot,
      [this, slot](capabilities_revoked& done) { answer(slot, calls::revoke::reply{done.epoch}); });
}

} // namespace troupe::actors
