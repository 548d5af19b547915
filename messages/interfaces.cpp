// SPDX-License-Identifier: Apache-2.0
#include "messages/interfaces.hpp"

#include "messages/calls.hpp"
#include "messages/describe.hpp"

#include <fmt/format.h>

namespace troupe {

namespace {

/// Writes one interface definition.
class interface_writer {
public:
  interface_writer(std::string name, std::string_view about) : name_{std::move(name)} {
    text_ =
        fmt::format("# SPDX-License-Identifier: Apache-2.0\n# {}\ninterface {}\n", about, name_);
  }

  template <class T>
  interface_writer& type(direction way) {
    text_ += fmt::format("\ntype {} {}\n", T::type_name, describe<T>(way));
    return *this;
  }

  template <class Call>
  interface_writer& method(std::string_view about) {
    const auto member = Call::method.substr(Call::method.rfind('.') + 1);
    text_ += fmt::format("\n# {}\nmethod {}{} -> {}\n", about, member,
                         describe<Call>(direction::request),
                         describe<typename Call::reply>(direction::reply));
    return *this;
  }

  interface_text done() const { return {name_, text_}; }

private:
  std::string name_;
  std::string text_;
};

constexpr auto asked = direction::request;
constexpr auto told = direction::reply;

interface_text session() {
  return interface_writer{"org.troupe.session", "Who a connection speaks for"}
      .type<key_row>(told)
      .method<calls::hello>("Asks for a capability for the key that the caller holds")
      .method<calls::present>("Presents a capability and proves that its key is held")
      .method<calls::keys>("The keys that sign capabilities, warrants and orders")
      .method<calls::revoke>("Ends capabilities before their time, by serial, uid or job")
      .done();
}

interface_text jobs() {
  return interface_writer{"org.troupe.jobs", "Jobs: submitted, changed, looked at, followed"}
      .type<number_range>(asked)
      .type<array_spec>(asked)
      .type<terminal_size>(asked)
      .type<job_spec>(asked)
      .type<signed_request>(asked)
      .type<job_dependency>(asked)
      .type<job_selector>(asked)
      .type<job_changes>(asked)
      .type<calls::stream_position>(asked)
      .type<calls::failure>(told)
      .type<exit_report>(told)
      .type<job_row>(told)
      .type<element_view>(told)
      .type<step_view>(told)
      .type<job_view>(told)
      .type<why_view>(told)
      .type<start_forecast>(told)
      .type<estimate_row>(told)
      .type<estimate_summary>(told)
      .type<calls::end_row>(told)
      .method<calls::submit>("Submits jobs; answers when they are durable")
      .method<calls::cancel>("Ends jobs or elements; answers when that is durable")
      .method<calls::hold>("Keeps pending jobs from starting")
      .method<calls::release>("Lets held jobs start")
      .method<calls::modify>("Changes what pending jobs ask for; answers when that is durable")
      .method<calls::signal>("Sends a signal to all ranks of running jobs")
      .method<calls::queue>("Unfinished jobs in queue order; with 'more' in pieces; 'brief' leaves "
                            "out fields that have their default")
      .method<calls::history>("Ended jobs, newest first; 'brief' as in Queue")
      .method<calls::estimates>("When jobs that have started had been expected to, newest first")
      .method<calls::show>("All of one job")
      .method<calls::why>("Why a job waits")
      .method<calls::wait>("Answers when all of these have ended")
      .method<calls::run_step>("Starts a step in a running job's allocation")
      .method<calls::write_input>("Gives a running job bytes for its standard input")
      .method<calls::signal_step>("Sends a signal to the ranks of a step, or ends it")
      .method<calls::follow>("Follows one element: state, streamed output, end; with 'more' only")
      .done();
}

interface_text nodes() {
  return interface_writer{"org.troupe.nodes", "Nodes: what they offer, and whether it is in use"}
      .type<node_row>(told)
      .method<calls::nodes>("The nodes and what of them is in use")
      .method<calls::drain>("Lets nothing more start on nodes")
      .method<calls::resume>("Takes drained nodes into use again")
      .done();
}

interface_text queues() {
  return interface_writer{"org.troupe.queues", "Queues, and nodes reserved for a time"}
      .type<queue_row>(told)
      .type<reservation_row>(asked)
      .method<calls::queues>("The queues and what is in them")
      .method<calls::reservations>("The reservations that have not ended")
      .method<calls::reserve>("Keeps nodes for some jobs for a time")
      .method<calls::unreserve>("Gives a reservation up")
      .done();
}

interface_text config() {
  return interface_writer{"org.troupe.config", "The configuration"}
      .method<calls::config_show>("What is in force, as TOML")
      .method<calls::config_reload>("Reads the file again: all of it is in force then, or nothing")
      .done();
}

interface_text cluster() {
  return interface_writer{"org.troupe.cluster", "The cluster as a whole"}
      .type<job_row>(told)
      .method<calls::summary>("The cluster in a few numbers; needs no session")
      .method<calls::stop>(
          "Stops the cluster; what runs is ended first, or goes on and is found again")
      .done();
}

interface_text ledger() {
  return interface_writer{"org.troupe.ledger", "The ledger, looked after"}
      .method<calls::ledger_check>("Reads all of it and says what is wrong")
      .method<calls::ledger_backup>("Copies it to a new file, as it is at one moment")
      .done();
}

interface_text console() {
  return interface_writer{"org.troupe.console", "The actors themselves"}
      .type<actor_row>(told)
      .type<status_report>(told)
      .method<calls::actors>("Every actor with its counters")
      .method<calls::actor_status>("One actor's own words; by number or name")
      .done();
}

interface_text audit() {
  return interface_writer{"org.troupe.audit", "The chain of grants and refusals"}
      .method<calls::audit_tail>("Its last lines")
      .method<calls::audit_verify>("Is it whole?")
      .done();
}

} // namespace

std::vector<interface_text> interface_texts() {
  auto errors = interface_writer{"org.troupe", "Every error of Troupe"}.done();
  errors.text += "\n# `code`: invalid, refused, not_found, conflict, exhausted, storage, "
                 "unreachable, internal\nerror Error (code: string, reason: string, message: "
                 "string)\n";
  return {errors,   session(), jobs(),    nodes(),  queues(),
          config(), cluster(), console(), ledger(), audit()};
}

} // namespace troupe
