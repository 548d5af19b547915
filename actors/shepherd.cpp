// SPDX-License-Identifier: Apache-2.0
#include "actors/shepherd.hpp"

#include "messages/cbor.hpp"

#include <fmt/format.h>

namespace troupe::actors {

namespace {

/// A shepherd that talks before its job asks for it is none of ours, or trouped has just started.
constexpr std::size_t unheard_max = 4096;
constexpr std::uint32_t lines_logged_max = 100;
constexpr std::size_t line_bytes_max = 500;

} // namespace

shepherd_state::shepherd_state(self_pointer self, world& around, verified_capability cap,
                               group_key group, std::uint32_t element, std::uint32_t node_number,
                               agent_actor agent, std::shared_ptr<launch::shepherd_lines> lines)
    : self_{self}, world_{around}, agent_cap_{std::move(cap)}, group_{group}, element_{element},
      node_{node_number}, agent_{std::move(agent)}, lines_{std::move(lines)} {}

std::string shepherd_state::display_name() const {
  return fmt::format("shepherd/{}@{}", format_id(group_.job, element_), node_);
}

shepherd_actor::behavior_type shepherd_state::make_behavior(auth::guard_observer& guard) {
  return secure_behavior<shepherd_actor>(
      guard, on<get_status>([this](request<get_status>&) { return status(); }),
      on<tell_shepherd>([this](request<tell_shepherd>& what) { tell_it(what); }),
      on<take_stream>([this](request<take_stream>& what) { connect(what.msg); }),
      on<take_shepherd_frame>([this](request<take_shepherd_frame>& what) { take(what.msg); }),
      on<forget_group>([this](request<forget_group>&) { self_->quit(); }));
}

void shepherd_state::on_stop() {
  if (line_ != 0)
    lines_->remove(line_);
}

// -- to the shepherd ------------------------------------------------------------

void shepherd_state::tell_it(request<tell_shepherd>& what) {
  cap_ = what.cap;
  for (auto& message : std::exchange(unheard_, {}))
    pass_on(std::move(message));
  if (line_ == 0)
    unsent_.push_back(std::move(what.msg.what));
  else
    send(*what.msg.what);
}

/// The launcher has lent its socket: whoever spoke there before is gone, so it is greeted first.
void shepherd_state::connect(take_stream& what) {
  unique_fd socket{what.descriptor};
  if (line_ == what.stream)
    return;
  if (auto added = lines_->add(what.stream, std::move(socket)); !added) {
    world_.log->warn("{}: {}; trying again", display_name(), added.error().text);
    tell(agent_, agent_cap_, lend_again{what.stream});
    return;
  }
  line_ = what.stream;
  shepherd::to_shepherd greeting;
  greeting.hello.emplace();
  send(greeting);
  for (const auto& each : std::exchange(unsent_, {}))
    send(*each);
}

void shepherd_state::send(const shepherd::to_shepherd& frame) {
  ++told_;
  const auto encoded = to_cbor(frame);
  // A relay that is lost is relayed again; nothing else is said twice.
  if (auto sent = frame.relay ? lines_->offer(line_, encoded) : lines_->send(line_, encoded); !sent)
    world_.log->warn("{}: {}", display_name(), sent.error().text);
}

// -- from the shepherd ----------------------------------------------------------

/// It runs as the user: what cannot be read is dropped, and said.
void shepherd_state::take(take_shepherd_frame& what) {
  hear_shepherd message{node_, group_, element_, nullptr, false};
  if (what.ended) {
    // Another one may be there already, for steps that came after.
    message.replaced = line_ != what.stream;
    if (!message.replaced)
      line_ = 0;
    pass_on(std::move(message));
    return;
  }
  ++heard_;
  auto frame = from_cbor<shepherd::to_agent>(what.frame);
  if (!frame) {
    world_.log->warn("{}: said something unreadable: {}", display_name(), frame.error().text);
    return;
  }
  if (frame->said)
    return log(frame->said->text);
  message.what = std::make_shared<shepherd::to_agent const>(std::move(*frame));
  pass_on(std::move(message));
}

/// What it says of itself reaches the log, which is not the user's: so many lines, of such a
/// length, with nothing in them that a terminal would obey.
void shepherd_state::log(const std::string& words) {
  if (logged_ >= lines_logged_max)
    return;
  std::string line;
  for (const unsigned char c : words.substr(0, line_bytes_max))
    line +=
        c >= 0x20 && c < 0x7f ? std::string(1, static_cast<char>(c)) : fmt::format("\\x{:02x}", c);
  world_.log->warn("{} says: {}{}", display_name(), line,
                   ++logged_ == lines_logged_max ? " (more of it is not logged)" : "");
}

void shepherd_state::pass_on(hear_shepherd message) {
  if (cap_)
    tell(agent_, cap_, std::move(message));
  else if (unheard_.size() < unheard_max)
    unheard_.push_back(std::move(message));
}

status_report shepherd_state::status() const {
  status_report report;
  report.actor = display_name();
  auto add = [&](std::string key, auto value) {
    report.items.push_back({std::move(key), fmt::format("{}", value)});
  };
  add("connected", line_ != 0);
  add("frames told", told_);
  add("frames heard", heard_);
  add("waits for its job", unheard_.size());
  return report;
}

} // namespace troupe::actors
