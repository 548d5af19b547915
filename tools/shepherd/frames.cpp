// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/say.hpp"
#include "tools/shepherd/shepherd.hpp"

// What the agent says.

namespace troupe::shepherd {

namespace {

std::string directory_name(const register_step& about) {
  const auto element = about.element == no_element ? 0 : about.element;
  return std::to_string(about.job) + "." + std::to_string(element) + "." +
         std::to_string(about.incarnation) + "." + std::to_string(about.node_index);
}

} // namespace

void shepherd::take(to_shepherd frame) {
  if (frame.hello)
    take_hello(*frame.hello);
  if (frame.register_step)
    take_step(std::move(*frame.register_step));
  if (frame.relay)
    peers_.take(std::move(*frame.relay));
  if (frame.spawn_answer)
    take_spawn_answer(*frame.spawn_answer);
  if (frame.rank_ended)
    take_end(*frame.rank_ended);
  if (frame.forget_step)
    forget(frame.forget_step->step);
  if (frame.peer_gone)
    take_gone(*frame.peer_gone);
}

/// A new agent: it knows nothing of what its predecessor was told.
void shepherd::take_hello(const hello& from) {
  if (from.version != protocol_version)
    return fail("the agent speaks version " + std::to_string(from.version) +
                " of the shepherd's protocol; this shepherd speaks " +
                std::to_string(protocol_version));
  for (const auto& [number, step] : steps_.all()) {
    if (!step->ready)
      continue;
    to_agent frame;
    frame.registered = registered{number};
    agent_.send(frame);
    changed_counts_.insert(number);
  }
  for (const auto& each : aborts_) {
    to_agent frame;
    frame.abort = each;
    agent_.send(frame);
  }
  for (const auto& [number, pending] : spawns_) {
    to_agent frame;
    frame.spawn_request = pending.request;
    agent_.send(frame);
  }
  peers_.resend_all();
}

/// Its ranks would wait for nothing: it is ended, with this reason.
void shepherd::refuse_step(std::uint32_t number, const std::string& why) {
  say("step %u cannot be registered: %s", number, why.c_str());
  abort said{number, 0, 1, "its shepherd cannot serve it: " + why.substr(0, 4000)};
  to_agent frame;
  frame.abort = said;
  agent_.send(frame);
  aborts_.push_back(std::move(said));
}

void shepherd::take_step(register_step about) {
  if (auto fault = fault_of(about); !fault.empty())
    return refuse_step(about.step, fault);
  if (auto* known = steps_.find(about.step)) {
    if (known->about.nspace != about.nspace)
      return refuse_step(about.step, "it is registered already, as " + known->about.nspace);
    if (known->ready)
      step_is_ready(*known);
    return;
  }
  if (!job_ && !prepare_job(about))
    return;
  if (about.job != job_->job || about.element != job_->element ||
      about.incarnation != job_->incarnation || about.node_index != job_->node_index)
    return refuse_step(about.step, "it is of another job or node: this shepherd is bound to job " +
                                       std::to_string(job_->job));
  auto& step = steps_.add(std::move(about));
  if (!prepare_step(step))
    return;
  if (step.about.mpi != mpi_kind::pmix)
    return step_is_ready(step);
  pmix::job_places places{directory_->path(), step.directory, {}};
  for (std::uint32_t i = 0; i < step.ranks.size(); ++i)
    places.rank_directories.push_back(step.directory + "/" + std::to_string(i));
  if (auto added = server_->add_step(step.about, places, step.about.step); !added)
    fail(added.error().text);
}

/// The job's first step: its directories.
bool shepherd::prepare_job(const register_step& about) {
  const auto base = about.directory_base.empty() ? temporary_base() : about.directory_base;
  auto directory = held_directory::make(base, directory_name(about));
  auto shared = held_directory::make(shared_memory_base, directory_name(about));
  if (!directory || !shared) {
    fail(directory ? shared.error().text : directory.error().text);
    return false;
  }
  directory_ = std::move(*directory);
  shared_directory_ = std::move(*shared);
  job_ = about;
  collectives_.set_own_node(about.node_index);
  return true;
}

/// What stands behind a step before PMIx hears of it: directories, and the server itself.
bool shepherd::prepare_step(step_state& step) {
  const auto name = std::to_string(step.about.step);
  auto directory = directory_->add(name);
  auto shared = shared_directory_->add(name);
  if (!directory || !shared) {
    fail(directory ? shared.error().text : directory.error().text);
    return false;
  }
  step.directory = *directory;
  step.shared_directory = *shared;
  if (server_ || step.about.mpi != mpi_kind::pmix)
    return true;
  pmix::server_place place;
  place.nspace = "troupe-shepherd." + std::to_string(job_->job) + "." +
                 std::to_string(job_->element) + "." + std::to_string(job_->incarnation);
  place.node_index = job_->node_index;
  place.node_name = step.own_node().name;
  place.directory = directory_->path();
  auto server = pmix::server::start(place, upcalls_);
  if (!server) {
    fail(server.error().text);
    return false;
  }
  server_ = std::move(*server);
  return true;
}

void shepherd::step_is_ready(step_state& step) {
  step.ready = true;
  to_agent frame;
  frame.registered = registered{step.about.step};
  agent_.send(frame);
  answer_parked(step);
}

void shepherd::take_spawn_answer(const spawn_answer& from) {
  const auto at = spawns_.find(from.request);
  if (at == spawns_.end())
    return;
  const auto done = std::move(at->second.done);
  spawns_.erase(at);
  done(from);
}

void shepherd::take_end(const rank_ended& from) {
  auto* step = steps_.find(from.step);
  if (step == nullptr)
    return;
  const end_notice notice{from.step, from.rank, from.exit_code, from.signal};
  const auto node = step->node_of(from.rank);
  auto* local = step->find(from.rank);
  if (local == nullptr) {
    rank_is_gone(notice, node);
    if (from.node_lost && node < step->about.nodes.size()) {
      collectives_.node_lost(node);
      peers_.drop(node);
    }
    return;
  }
  if (local->ended)
    return;
  local->ended = true;
  local->output.reset();
  local->error_output.reset();
  // A rank that finalised and ended well is missed by nobody.
  const bool is_quiet = local->finalised && from.exit_code == 0 && from.signal == 0;
  if (!is_quiet) {
    peer_message message;
    message.end_notice = notice;
    tell_all(message);
  }
  rank_is_gone(notice, node);
}

void shepherd::forget(std::uint32_t number) {
  say_counts(); // what was not said yet comes before the last word
  to_agent frame;
  frame.forgotten = forgotten{number};
  auto* step = steps_.find(number);
  if (step == nullptr)
    return agent_.send(frame);
  for (auto& rank : step->ranks)
    if (rank.alive)
      poll_.remove(rank.alive.get());
  if (server_ && step->about.mpi == mpi_kind::pmix)
    server_->remove_step(step->about.nspace);
  pmi1_.remove_step(number);
  published_.step_ended(step->about.nspace);
  collectives_.step_ended(step->about.nspace);
  std::erase_if(aborts_, [&](const abort& each) { return each.step == number; });
  std::erase_if(parked_, [&](const parked_stub& each) { return each.stub.who.step == number; });
  directory_->drop(std::to_string(number));
  shared_directory_->drop(std::to_string(number));
  steps_.remove(number);
  agent_.send(frame);
}

/// Says why to the agent and to the job's log, and ends.
void shepherd::fail(const std::string& why) {
  say("%s", why.c_str());
  to_agent frame;
  frame.failed = failed{why.substr(0, 4096)};
  agent_.send(frame);
  exit_code_ = 1;
  stopping_ = true;
}

} // namespace troupe::shepherd
