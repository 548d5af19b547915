// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/scheduler/scheduler.hpp"
#include "auth_world.hpp"
#include "runtime/ledger/store.hpp"
#include "tests/unit/scripted_launcher.hpp"

#include <caf/scheduler/test_coordinator.hpp>
#include <map>
#include <set>

// The controller's actors, all of them real, in one thread and in virtual time. Which actor handles
// its next message is drawn: a seed is one interleaving of all of them.

namespace troupe::test {

/// The seeds of a run: the one in TROUPE_TEST_SEED alone, or 1 to `count` (or TROUPE_TEST_SEEDS).
std::vector<std::uint64_t> seeds(std::uint64_t count);

/// Somebody who has logged in.
struct person {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  auth::key_pair holder = auth::key_pair::generate();
  auth::verified_capability cap;
};

/// What was asked, and the answer when it has come.
template <class Answer>
using answer_box = std::shared_ptr<std::optional<expected<Answer>>>;

/// A job that was submitted: its number, or why it was refused, when that has been answered.
struct submitted_job {
  job_spec spec;
  std::optional<expected<job_id>> answer;
  bool cancelled = false; ///< a cancel of all of it was answered
};

/// A refusal as the audit chain was told of it.
struct noted_refusal {
  std::string message;
  std::uint32_t uid = 0;
  auth::reason why{};
};

/// One element as the ledger tells it.
struct element_story {
  std::uint32_t ends = 0;
  std::set<std::uint32_t> starts; ///< incarnations with a `starting`
  exit_report exit;
};

struct world_shape {
  std::uint32_t nodes = 3;
  std::uint32_t cores = 4;
  std::shared_ptr<cluster_config const> config{}; ///< none: the default one
};

/// A directory that goes with the test; in memory where there is such a place, for it syncs much.
class quick_directory {
public:
  quick_directory();
  quick_directory(const quick_directory&) = delete;
  quick_directory& operator=(const quick_directory&) = delete;
  ~quick_directory();
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

class actor_world {
public:
  explicit actor_world(std::uint64_t seed, world_shape shape = {});
  ~actor_world();
  actor_world(const actor_world&) = delete;
  actor_world& operator=(const actor_world&) = delete;

  // -- the daemon's lives
  /// Opens the ledger, recovers what it tells, makes the actors. Launchers are not connected yet.
  void start();
  /// The same with other nodes: those that are gone leave when nothing runs there any more.
  void start(world_shape shape);
  /// Instead of the ledger there is this.
  void write_ledger(const std::vector<ledger::event>& events);
  void connect_launchers();
  /// The daemon ends where it stands: no message is handled any more. Launchers go on.
  void crash();

  // -- time and order
  /// One message of an actor that is drawn; false if no actor has one.
  bool step();
  /// Steps until no actor has anything to do.
  void settle();
  /// Lets all others do what they have to do: this one's mailbox fills.
  void settle_without(const caf::strong_actor_ptr& stalled);
  template <class Handle>
  void settle_without(const Handle& stalled) {
    settle_without(caf::actor_cast<caf::strong_actor_ptr>(stalled));
  }
  caf::strong_actor_ptr agent(std::size_t index);
  /// Both clocks; what is due by then is sent.
  void advance(std::int64_t ns);
  /// Settles, lets launchers work and tell all they have, until nothing is left to do.
  void drain();
  /// Drains and advances, a second at a time, until `done` or `seconds_max` have passed.
  bool run_until(const std::function<bool()>& done, std::uint32_t seconds_max = 120);

  // -- asking
  template <class Target, class M>
  answer_box<typename M::answer> ask(const Target& target, const auth::verified_capability& cap,
                                     M message) {
    auto box = std::make_shared<std::optional<expected<typename M::answer>>>();
    system().spawn(
        [target, box, what = request<M>{cap, std::move(message)}](caf::event_based_actor* self) {
          self->request(target, caf::infinite, what)
              .then([box](typename M::answer& answer) { *box = std::move(answer); },
                    [box](caf::error& why) { *box = tl::unexpected<error>{auth::from_caf(why)}; });
        });
    return box;
  }
  /// Asks the scheduler, as a person does.
  template <class M>
  answer_box<typename M::answer> ask(const person& by, M message) {
    return ask(scheduler, by.cap, std::move(message));
  }

  person log_in(std::uint32_t uid);
  /// What this person may do as an administrator.
  auth::verified_capability as_admin(const person& who);
  /// A capability of this person's that ends sooner.
  auth::verified_capability short_lived(const person& who, std::int64_t life_ns);
  auth::verified_capability role(auth::actor_role which);

  /// Signs a request for the job, has it warranted and submits it.
  std::shared_ptr<submitted_job> submit(const person& by, job_spec spec);
  /// A spec with a request for it that this person has signed.
  submission signed_submission(const person& by, job_spec spec) const;
  /// Signs a request for a step of this job's element and asks for it.
  answer_box<step_begun> run_step(const person& by, job_id job, std::uint32_t element,
                                  job_spec spec);

  // -- looking
  std::vector<job_id> all_jobs(); ///< that the ledger has
  bool queue_is_empty();
  job_spec spec_of(job_id job);
  const world_shape& shape() const { return shape_; }
  std::string ledger_path() const;
  std::string audit_path() const;
  std::map<std::uint32_t, element_story> story_of(job_id job);
  /// The planner's own figures, and what its audit of itself found.
  std::map<std::string, std::string> planner_status();
  actors::actor_counters& counters_of(const std::string& actor);
  actors::counter_table& counters();
  ledger::store& store();
  caf::actor_system& system();
  actors::world& around();
  caf::scheduler::test_coordinator& coordinator();

  std::uint64_t seed;
  dice random;
  auth::test::world keys; ///< the cluster's, with its clock
  std::vector<std::shared_ptr<scripted_launcher>> launchers;
  person user;

  scheduler_actor scheduler;
  ledger_actor ledger;
  authority_actor authority;
  planner_actor planner;
  std::vector<node_actor> nodes;

  /// Whether the ledger refuses this append; it takes all of them where nothing is set.
  std::function<bool(const append_entries&)> refuses_append;

  std::vector<std::string> violations; ///< of what must hold at any time
  std::vector<noted_refusal> refusals;
  std::map<std::tuple<std::uint32_t, job_id, std::uint32_t>, std::uint32_t> started; ///< by node
  std::uint64_t acknowledged = 0, ordered = 0;

private:
  struct life;
  void make_world();
  void make_nodes();
  void check_alone(std::uint32_t node, job_id job, std::uint32_t element);
  void spawn_all();
  void watch(scripted_launcher& launcher, std::uint32_t node);
  bool has_step_event(job_id job, std::uint32_t step, ledger::event_kind kind);
  void check_order(const auth::order_view& order);
  void check_acknowledged(const element_record& record);

  world_shape shape_;
  quick_directory directory_;
  std::vector<std::shared_ptr<node_inventory const>> offers_;
  std::unique_ptr<life> life_;
};

/// Specs that the tests are made of.
job_spec single(std::string name);
job_spec array_of(std::string name, std::uint32_t elements, std::uint32_t running_max = 0);
job_spec wide(std::string name, std::uint32_t nodes, std::uint32_t tasks);

} // namespace troupe::test
