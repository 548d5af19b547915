// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"
#include "actors/placing.hpp"

#include <fmt/format.h>

// Purpose: org.troupe.jobs.Follow: one element's state, streamed output and end.
// Input:   where the follower stands in each stream; a new follower stands at the beginning.
// Action:  asks where the element is, then pulls each rank's stream from its node, one piece at a
//          time: a follower that does not read asks for nothing more.
// Caveats: offsets are bytes of the spool, so a follower that comes back after a crash of this
//          process goes on exactly where it was. An element that was requeued or preempted writes
//          streams of its own in each run: at its end those of its last run are told, too.

namespace troupe::actors {

struct client_state::following {
  slot_ptr slot;
  calls::follow call;
  std::uint32_t incarnation = 0;
  struct stream_state {
    node_actor node;
    std::uint32_t spawned = 0; ///< step; 0: the one that was asked for
    read_output next;
    bool ended = false;
  };
  std::vector<stream_state> streams;
  bool located = false;
  bool may_spawn = false;           ///< further streams may come
  std::optional<follower> attached; ///< as whom
  std::optional<exit_report> exit;
  bool is_last_run = false; ///< known at the end
};

void client_state::follow(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::follow>(parameters, slot);
  if (!call)
    return;
  if (!slot->more) {
    answer_error(slot, {errc::invalid, "Follow answers many times: call it with 'more'"});
    return;
  }
  auto what = std::make_shared<following>();
  what->slot = slot;
  what->call = std::move(*call);
  followings_.insert(what);
  auto failed = [this, what](const caf::error& why) {
    detach(what);
    if (!what->slot->done)
      answer_failure(what->slot, why);
  };
  const auto job = what->call.job;
  const auto element = what->call.element;
  what->attached = follower{self_->id(), ++followed_};
  tell(to_->scheduler, cap_, attach_job{job, *what->attached});
  ask_of_job(
      locate_element{job, element, what->call.step},
      [this, what](element_location& where) { follow_located(what, where); }, failed);
  if (!what->call.until_end)
    return;
  if (what->call.step != 0) {
    ask_of_job(
        await_step{job, what->call.step},
        [this, what](step_over& over) {
          what->exit = std::move(over.exit);
          finish_follow(what);
        },
        failed);
    return;
  }
  await_jobs end;
  end.targets.push_back({job, job, {}});
  if (element != no_element)
    end.targets.front().elements = number_range{element, element};
  self_->request(to_->scheduler, caf::infinite, request<await_jobs>{cap_, std::move(end)})
      .then(
          [this, what](job_ends& ends) {
            what->exit = ends.ends.empty() ? exit_report{} : ends.ends.front().exit;
            finish_follow(what);
          },
          [this, what](caf::error& why) {
            // A refusal of both questions, or of the wait alone: its capability has ended
            // meanwhile.
            detach(what);
            if (!what->slot->done)
              answer_failure(what->slot, why);
          });
}

void client_state::follow_located(const std::shared_ptr<following>& what, element_location& where) {
  if (closed_ || what->slot->done)
    return;
  what->located = true;
  what->incarnation = where.incarnation;
  calls::follow::reply state;
  state.state.emplace();
  state.state->element = what->call.element;
  state.state->incarnation = where.incarnation;
  state.state->state = where.state;
  if (where.exit) {
    state.state->exit_code = where.exit->exit_code;
    state.state->signal = where.exit->signal;
    state.state->reason = where.exit->reason;
  }
  for (const auto& part : where.parts) {
    const auto known = to_->node_names.find(part.node);
    const auto& node = known == to_->node_names.end() ? std::string{"?"} : known->second;
    state.state->nodelist += fmt::format("{}{}", state.state->nodelist.empty() ? "" : ",", node);
    state.state->cpus +=
        (state.state->cpus.empty() ? "" : " ") + describe_binding(node, part, where.map_by);
  }
  answer_part(what->slot, state);
  if (!what->call.until_end)
    what->exit = where.exit.value_or(exit_report{where.state, 0, 0, ""});
  add_streams(what, where, 0);
  if (what->call.output && what->call.until_end && where.may_spawn)
    follow_spawned(what, 0);
  finish_follow(what);
}

/// From now on the streams of a step are followed: of `spawned`, or (0) of the one that was asked
/// for.
void client_state::add_streams(const std::shared_ptr<following>& what,
                               const element_location& where, std::uint32_t spawned) {
  if (!what->call.output)
    return;
  const auto first = what->streams.size();
  std::map<std::pair<std::uint32_t, bool>, std::uint64_t> positions;
  for (const auto& from : what->call.from)
    if (from.step == spawned)
      positions[{from.rank, from.error_stream}] = from.offset;
  for (const auto& part : where.parts)
    for (std::uint32_t local = 0; local < part.ranks; ++local)
      for (auto error_stream : {false, true}) {
        const auto rank = part.rank_of(local);
        if (!(error_stream ? where.streams_errors : where.streams_output))
          continue;
        auto node = to_->nodes.find(part.node);
        if (node == to_->nodes.end())
          continue;
        following::stream_state stream;
        stream.node = node->second;
        stream.spawned = spawned;
        stream.next.group = {what->call.job, where.incarnation,
                             spawned == 0 ? what->call.step : spawned};
        stream.next.element = what->call.element;
        stream.next.rank = rank;
        stream.next.error_stream = error_stream;
        stream.next.wait = what->call.until_end;
        if (auto from = positions.find({rank, error_stream}); from != positions.end())
          stream.next.offset = from->second;
        what->streams.push_back(std::move(stream));
      }
  for (auto i = first; i < what->streams.size(); ++i)
    pull(what, i);
}

/// What its ranks spawn writes where they do.
void client_state::follow_spawned(const std::shared_ptr<following>& what, std::uint32_t after) {
  what->may_spawn = true;
  const auto job = what->call.job;
  const auto element = what->call.element;
  const auto none = [this, what](const caf::error&) {
    what->may_spawn = false; // the other questions tell what is wrong
    finish_follow(what);
  };
  ask_of_job(
      await_spawned{job, element, what->call.step, after},
      [this, what, job, element, none](step_spawned& next) {
        if (closed_ || what->slot->done)
          return;
        if (next.step == 0) {
          what->may_spawn = false;
          finish_follow(what);
          return;
        }
        ask_of_job(
            locate_element{job, element, next.step},
            [this, what, step = next.step](element_location& where) {
              if (closed_ || what->slot->done)
                return;
              add_streams(what, where, step);
              follow_spawned(what, step);
            },
            none);
      },
      none);
}

void client_state::pull(const std::shared_ptr<following>& what, std::size_t index) {
  if (closed_ || what->slot->done)
    return;
  if (!has_its_turn(what->slot)) {
    paused_.emplace_back([this, what, index] { pull(what, index); });
    return;
  }
  auto& stream = what->streams[index];
  self_->request(stream.node, caf::infinite, request<read_output>{cap_, stream.next})
      .then(
          [this, what, index](output_chunk& chunk) {
            auto& from = what->streams[index];
            if (!chunk.data.empty()) {
              from.next.offset = chunk.offset + chunk.data.size();
              calls::follow::reply part;
              part.output = calls::follow::piece{from.next.rank, from.next.error_stream,
                                                 chunk.offset, std::move(chunk.data), from.spawned};
              answer_part(what->slot, part, visibility::owner);
            }
            from.ended = chunk.ended;
            if (from.ended)
              finish_follow(what);
            else
              pull(what, index);
          },
          [this, what](caf::error& why) {
            detach(what);
            if (!what->slot->done)
              answer_failure(what->slot, why);
          });
}

/// The end is told when it is known and every stream has been told to its end.
void client_state::finish_follow(const std::shared_ptr<following>& what) {
  if (closed_ || what->slot->done || !what->exit || !what->located || what->may_spawn)
    return;
  for (const auto& stream : what->streams)
    if (!stream.ended)
      return;
  // It is over: its last run may be a later one than what was followed.
  const auto looks = what->call.until_end && what->call.step == 0 && !what->streams.empty();
  if (looks && !std::exchange(what->is_last_run, true)) {
    what->located = false; // nothing is told meanwhile
    const auto same = [this, what] {
      what->located = true;
      finish_follow(what);
    };
    ask_of_job(
        locate_element{what->call.job, what->call.element, 0},
        [this, what, same](element_location& where) {
          if (where.incarnation == what->incarnation)
            return same();
          what->streams.clear();
          what->call.from.clear();
          follow_located(what, where);
        },
        [same](const caf::error&) { same(); });
    return;
  }
  detach(what);
  calls::follow::reply end;
  end.end = *what->exit;
  answer(what->slot, end);
}

void client_state::detach(const std::shared_ptr<following>& what) {
  followings_.erase(what);
  // Under the gateway's own capability: the peer's may have ended.
  if (auto by = std::exchange(what->attached, std::nullopt))
    tell(to_->scheduler, to_->gateway, detach_follower{what->call.job, *by});
}

} // namespace troupe::actors
