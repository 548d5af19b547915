// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

#include <fmt/format.h>

// A connection's frame: bytes in, calls, answers in their order, bytes out.

namespace troupe::actors {

namespace {

constexpr std::size_t unwritten_bytes_max = 1u << 20;        ///< beyond: nothing more is read
constexpr std::size_t held_bytes_max = 16u << 20;            ///< the same
constexpr std::size_t ahead_of_reader_max = 256 * 1024;      ///< beyond: a stream asks for no more
constexpr std::uint32_t large_under_way_max = 4;             ///< beyond: nothing more is read
constexpr std::size_t unwritten_bytes_hard_max = 256u << 20; ///< beyond: the peer is given up

} // namespace

caf::behavior client_broker(caf::io::broker* self, world* around,
                            std::shared_ptr<client_links const> to,
                            std::shared_ptr<varlink::accepted_connection> connection) {
  auto counters =
      around->counters.add(self->id(), fmt::format("client/{}", connection->peer.pid), 0);
  auto state = std::make_shared<client_state>(self, *around, std::move(to), std::move(connection),
                                              std::move(counters));
  // The broker keeps the state alive through its behaviour.
  return {
      [state](const caf::io::new_data_msg& message) { state->take_data(message.buf); },
      [state](const caf::io::data_transferred_msg& message) { state->written(message.remaining); },
      [state](const caf::io::connection_closed_msg&) { state->close({}); },
  };
}

client_state::client_state(caf::io::broker* self, world& around,
                           std::shared_ptr<client_links const> to,
                           std::shared_ptr<varlink::accepted_connection> connection,
                           std::shared_ptr<actor_counters> counters)
    : self_{self}, world_{around}, to_{std::move(to)}, peer_{std::move(connection->peer)},
      slot_{std::move(connection->slot)}, counters_{std::move(counters)} {
  wire_ = self_->add_scribe(connection->fd.release());
  self_->ack_writes(wire_, true);
  self_->configure_read(wire_, caf::io::receive_policy::at_most(256 * 1024));
  self_->set_error_handler([this](caf::scheduled_actor*, caf::error& what) {
    counters_->note_error(from_caf(what).text);
  });
}

client_state::~client_state() {
  world_.counters.remove(counters_->id);
}

void client_state::take_data(const std::vector<char>& data) {
  counters_->received.fetch_add(1, std::memory_order_relaxed);
  read(data);
  counters_->consumed.fetch_add(1, std::memory_order_relaxed);
}

std::string client_state::peer_text() const {
  return fmt::format("uid {} pid {}", peer_.uid, peer_.pid);
}

// -- in -------------------------------------------------------------------------

void client_state::read(const std::vector<char>& data) {
  if (closed_)
    return;
  auto all = reader_.feed({data.data(), data.size()},
                          [this](std::string_view frame) { return take_frame(frame); });
  send_submits_if_few();
  if (!all) {
    auto slot = std::make_shared<answer_slot>();
    slots_.push_back(slot);
    answer_error(slot, all.error());
    close(all.error().text);
    return;
  }
  stop_reading_if_busy();
}

bool client_state::busy() const {
  return logging_in_ || slots_.size() >= world_.config.unanswered_max ||
         large_under_way_ >= large_under_way_max || unwritten_ > unwritten_bytes_max ||
         held_ > held_bytes_max;
}

void client_state::stop_reading_if_busy() {
  if (!busy() || !*reading_ || closed_)
    return;
  *reading_ = false;
  self_->halt(wire_);
}

/// Goes on with what was kept, and reads again when there is room.
void client_state::resume_reading() {
  if (*reading_ || resuming_ || closed_ || busy())
    return;
  resuming_ = true;
  auto all = reader_.resume([this](std::string_view frame) { return take_frame(frame); });
  send_submits_if_few();
  resuming_ = false;
  if (!all || closed_) {
    close(all ? std::string{} : all.error().text);
    return;
  }
  if (busy())
    return;
  *reading_ = true;
  start_reading();
}

/// In the event loop's next turn: CAF forgets a trigger that comes in the same turn as its halt,
/// and the connection would be silent for ever. It may have been halted again by then.
void client_state::start_reading() {
  caf::strong_actor_ptr alive{self_->ctrl()};
  self_->backend().post([alive, self = self_, wire = wire_, wanted = reading_] {
    if (*wanted)
      self->trigger(wire);
  });
}

/// One call. False: no more for now.
bool client_state::take_frame(std::string_view frame) {
  if (closed_)
    return true;
  auto parsed = varlink::parse_call(frame);
  auto slot = std::make_shared<answer_slot>();
  slots_.push_back(slot);
  if (!parsed) {
    answer_error(slot, parsed.error());
    close(parsed.error().text);
    return true;
  }
  slot->oneway = parsed->oneway;
  slot->more = parsed->more;
  dispatch(*parsed, slot);
  return !busy();
}

void client_state::dispatch(const varlink::call& call, const slot_ptr& slot) {
  std::string description;
  if (!to_->registry->resolve(call, description)) {
    if (!slot->oneway)
      say(slot, [&](auto& out) { out = std::move(description); });
    slot->done = true;
    flush();
    return;
  }
  auto at = methods().find(call.method);
  if (at == methods().end()) {
    answer_error(slot, {errc::internal, fmt::format("method {} has no code", call.method)});
    return;
  }
  if (call.method != calls::submit::method)
    send_submits();
  counters_->admitted.fetch_add(1, std::memory_order_relaxed);
  if (at->second.needs_session && !cap_ && brings_capability_) {
    auth::refusal why;
    why.code = errc::refused;
    why.why = auth::reason::holder_unproven;
    why.text = "no capability was accepted on this connection; present one first";
    refuse_session(slot, why, "call");
    return;
  }
  if (at->second.needs_session && !cap_) {
    deferred_.push_back({at->second.handle, std::string{call.parameters}, slot});
    login_unasked();
    return;
  }
  (this->*at->second.handle)(call.parameters, slot);
}

// -- out ------------------------------------------------------------------------

/// Writes what is complete at the front of the order.
void client_state::flush() {
  if (closed_)
    return;
  bool wrote = false;
  bool advanced = false;
  while (!slots_.empty()) {
    auto& first = *slots_.front();
    if (!first.text.empty()) {
      self_->write(wire_, first.text.size(), first.text.data());
      unwritten_ += first.text.size();
      held_ -= first.text.size();
      first.text.clear();
      wrote = true;
    }
    if (!first.done)
      break;
    slots_.pop_front();
    advanced = true;
  }
  if (wrote)
    self_->flush(wire_);
  if (unwritten_ > unwritten_bytes_hard_max)
    close("it does not read its answers");
  if (advanced)
    resume_streams();
  resume_reading();
}

void client_state::written(std::size_t remaining) {
  unwritten_ = remaining;
  resume_streams();
  resume_reading();
}

/// A stream asks for more only while it is the first in the order of answers and its peer reads:
/// else all of it would have to be kept here.
bool client_state::has_its_turn(const slot_ptr& slot) const {
  return !slots_.empty() && slots_.front() == slot && unwritten_ <= ahead_of_reader_max;
}

void client_state::resume_streams() {
  for (auto& go_on : std::exchange(paused_, {}))
    go_on();
}

void client_state::answer_error(const slot_ptr& slot, const error& why, std::string reason) {
  counters_->note_error(why.text);
  if (!slot->oneway)
    say(slot, [&](auto& out) {
      varlink::append_error(out, varlink::application_error{why.code, std::move(reason), why.text});
    });
  slot->done = true;
  flush();
}

/// What another actor answered; a refusal says its reason in a word, too.
void client_state::answer_failure(const slot_ptr& slot, const caf::error& why) {
  const auto refusal = auth::refusal_of(why);
  answer_error(slot, from_caf(why), refusal ? std::string{auth::to_string(refusal->why)} : "");
}

void client_state::close(const std::string& why) {
  if (closed_)
    return;
  closed_ = true;
  if (!why.empty())
    world_.log->info("client {}: closed: {}", peer_text(), why);
  for (const auto& what : std::exchange(followings_, {}))
    detach(what);
  paused_.clear();
  self_->flush(wire_);
  self_->close(wire_);
  self_->quit();
}

// -- the table ------------------------------------------------------------------

const std::map<std::string_view, client_state::method_entry>& client_state::methods() {
  using self = client_state;
  static const std::map<std::string_view, method_entry> table{
      {calls::hello::method, {&self::hello, false}},
      {calls::present::method, {&self::present, false}},
      {calls::summary::method, {&self::summary, false}},
      {calls::keys::method, {&self::keys, true}},
      {calls::revoke::method, {&self::revoke, true}},
      {calls::submit::method, {&self::submit, true}},
      {calls::cancel::method, {&self::cancel, true}},
      {calls::hold::method, {&self::hold, true}},
      {calls::release::method, {&self::release, true}},
      {calls::modify::method, {&self::modify, true}},
      {calls::signal::method, {&self::signal, true}},
      {calls::queue::method, {&self::queue, true}},
      {calls::history::method, {&self::history, true}},
      {calls::estimates::method, {&self::estimates, true}},
      {calls::show::method, {&self::show, true}},
      {calls::why::method, {&self::why, true}},
      {calls::wait::method, {&self::wait, true}},
      {calls::follow::method, {&self::follow, true}},
      {calls::run_step::method, {&self::run_step, true}},
      {calls::signal_step::method, {&self::signal_step, true}},
      {calls::write_input::method, {&self::write_input, true}},
      {calls::nodes::method, {&self::nodes, true}},
      {calls::drain::method, {&self::drain, true}},
      {calls::resume::method, {&self::resume, true}},
      {calls::queues::method, {&self::queues, true}},
      {calls::reservations::method, {&self::reservations, true}},
      {calls::reserve::method, {&self::reserve, true}},
      {calls::unreserve::method, {&self::unreserve, true}},
      {calls::config_show::method, {&self::config_show, true}},
      {calls::config_reload::method, {&self::config_reload, true}},
      {calls::ledger_check::method, {&self::ledger_check, true}},
      {calls::ledger_backup::method, {&self::ledger_backup, true}},
      {calls::stop::method, {&self::stop, true}},
      {calls::actors::method, {&self::actors, true}},
      {calls::actor_status::method, {&self::actor_status, true}},
      {calls::audit_tail::method, {&self::audit_tail, true}},
      {calls::audit_verify::method, {&self::audit_verify, true}},
  };
  return table;
}

} // namespace troupe::actors
