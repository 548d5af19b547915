// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/job/aside.hpp"
#include "actors/plan_codec.hpp"
#include "actors/scheduler/kept_row.hpp"
#include "actors/scheduler/meanwhile.hpp"
#include "actors/scheduler/tally.hpp"
#include "actors/shell.hpp"
#include "base/interval_set.hpp"
#include "base/passed_time.hpp"
#include "config/cluster_config.hpp"
#include "runtime/plan/planner.hpp"

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <vector>

namespace troupe::actors {

class target_set;

/// A job as the ledger's events tell it after a restart (actors/recovery.hpp).
struct recovered_job {
  job_birth birth; ///< without a capability; `event` is dropped for jobs that never started
  std::uint32_t uid = 0;
  bool attached = false;
  bool live = false; ///< something of it was placed or ended: it needs its actor at once
  std::shared_ptr<job_spec const> spec;
  std::vector<job_dependency> open_dependencies; ///< on jobs that have not come so far
  std::string unmet;                             ///< why a dependency can never hold; "": it can
  std::string aside;                             ///< why its story cannot be told; "": it can
  std::string ending; ///< of one that is set aside: it was cancelled, and why
};

/// What somebody used under an account until about `at`.
struct past_usage {
  std::string user;
  std::string account;
  double core_seconds = 0;
  utc_ns at = 0;
};

/// How long a job of somebody ran.
struct past_run {
  std::string user;
  std::uint32_t time_limit_s = 0; ///< that it had
  std::int64_t run_ns = 0;
};

/// Ended it by itself or at its limit, so that its run time says something of its user's next jobs?
constexpr bool tells_of_its_user(job_state state) {
  return state == job_state::completed || state == job_state::failed ||
         state == job_state::timed_out;
}

plan_event ran_event(const std::string& user, std::uint32_t time_limit_s, std::int64_t run_ns);

/// What is known at start.
struct scheduler_start {
  std::vector<recovered_job> jobs;
  std::map<std::string, node_event> nodes; ///< drained ones
  std::vector<std::string> remarks;        ///< what could not be read, and is done without
  std::map<std::string, reservation_row> reservations;
  std::vector<past_usage> usage;
  std::vector<past_run> runs; ///< in the order of their ends
  std::shared_ptr<cluster_config const> config = std::make_shared<cluster_config>(default_config());
};

/// Owns the table of unfinished jobs: takes submissions, changes and questions, hands events to the
/// planner and the planner's decisions to jobs. A job that only waits is a row here, no actor.
class scheduler_state {
public:
  using interface = scheduler_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "scheduler";

  struct peers {
    ledger_actor ledger;
    authority_actor authority;
    planner_actor planner;
    std::vector<node_entry> nodes;
    std::vector<node_entry> leaving; ///< that the cluster had before, and jobs still run on
  };

  scheduler_state(self_pointer self, world& around, verified_capability cap, peers to,
                  scheduler_start start);

  interface::behavior_type make_behavior(auth::guard_observer& guard);

private:
  struct job_record {
    kept_row row;
    std::uint32_t uid = 0;
    /// Why it must not start, one bit each; the planner sees a held job.
    std::uint8_t holds = 0;
    bool activating = false;
    bool leaving = false;                     ///< its end is being written
    bool lease = false;                       ///< may refill its slots
    bool aside = false;                       ///< its story cannot be told
    job_actor actor;                          ///< none while the job only waits
    std::unique_ptr<start_units> first_units; ///< wait for the actor
  };

  /// Who looks at a job that ends when nobody does.
  struct attendance {
    std::vector<follower> followers;
    boot_ns unattended_since = 0;
  };

  struct node_record {
    std::shared_ptr<node_entry const> entry;
    bool connected = false;
    bool leaving = false;
    std::optional<node_event> drained;
    node_state state() const {
      return leaving      ? node_state::leaving
             : !connected ? node_state::down
             : drained    ? node_state::draining
                          : node_state::up;
    }
  };

  /// Somebody waits for ends of jobs.
  struct waiter {
    std::uint64_t id = 0;
    verified_capability cap;
    std::uint64_t named = 0; ///< jobs and elements
    std::map<std::pair<job_id, std::uint32_t>, exit_report> ends;
    std::set<job_id> missing_jobs;                   ///< have not ended
    std::map<job_id, interval_set> missing_elements; ///< never empty
    std::vector<query_ends> questions;               ///< that the ledger is still to be asked
    bool asking = false;                             ///< it is being asked one
    bool unsure = false; ///< something is missing that is not in the table
    caf::typed_response_promise<job_ends> promise;
  };

  /// What has become of a job, for those who wait.
  struct job_news {
    job_id job = 0;
    std::vector<job_end> ends;
    std::vector<number_range> withdrawn{};
    std::string withdrawn_reason{};
    std::optional<exit_report> whole{}; ///< its own end
  };

  struct parked_location {
    request<locate_element> what;
    caf::typed_response_promise<element_location> promise;
  };

  /// What a change needs to be allowed, and the message that asks for it.
  struct asking {
    verb own, any;
    const char* message;
  };

  using job_table = std::map<job_id, job_record>;
  /// What a change is about, each job once.
  struct change {
    std::vector<job_id> waiting; ///< jobs without an actor
    std::vector<std::pair<job_id, std::vector<number_range>>> live;
    jobs_changed result;
  };
  struct gathering;
  struct waiting_change;

  enum hold_reason : std::uint8_t { by_person = 1, by_dependency = 2, by_change = 4 };
  /// Ended jobs that others depend on, as the ledger answered.
  using ended_jobs = std::map<job_id, expected<job_row>>;

  // submit.cpp
  caf::result<jobs_submitted> submit(request<submit_jobs>& what);
  void submit_known(const verified_capability& cap, const std::shared_ptr<submit_jobs>& what,
                    ended_jobs ended, const caf::typed_response_promise<jobs_submitted>& promise);
  void submit_checked(const verified_capability& cap, submit_jobs& what, const ended_jobs& ended,
                      caf::typed_response_promise<jobs_submitted> promise);
  job_table::iterator insert(job_id job, job_record record);
  void erase(job_table::iterator at);
  void take_submitted(const warranted_job& job, utc_ns at, std::vector<job_dependency> open,
                      std::vector<plan_event>& events);
  void set_hold(job_table::iterator at, hold_reason why, bool on, std::vector<plan_event>& events);

  // admission.cpp
  /// The queue that a job was admitted to, in the configuration that is in force.
  using admitted_queue = std::reference_wrapper<const queue_config>;
  expected<void> possible(const job_spec& spec) const;
  expected<admitted_queue> admit(const verified_capability& cap, const job_spec& spec,
                                 const job_identity& who) const;
  expected<admitted_queue> admit_queue(const job_spec& spec, const job_identity& who) const;
  expected<void> admit_account(const job_spec& spec, const job_identity& who) const;
  expected<void> admit_reservation(const queue_config& queue, const job_spec& spec,
                                   const job_identity& who) const;
  expected<void> admit_count(const queue_config& queue, const job_identity& who) const;
  const std::string& queue_of(const job_spec& spec) const;
  std::shared_ptr<submitted_event const>
  with_defaults(const queue_config& queue, std::shared_ptr<submitted_event const> event) const;
  plan_event submission_of(job_id job, std::shared_ptr<job_spec const> spec, std::uint32_t pending,
                           const job_row& row) const;
  caf::result<start_forecast> check(request<check_job>& what);

  // depend.cpp
  struct dependency_search;
  void look_up_dependencies(const verified_capability& cap, const std::set<job_id>& unknown,
                            std::function<void(ended_jobs&)> done);
  void look_up_more(const std::shared_ptr<dependency_search>& of);
  const std::vector<job_dependency>& open_of(job_id job) const;
  expected<std::vector<job_dependency>> open_dependencies(const verified_capability& cap,
                                                          const job_spec& spec,
                                                          const ended_jobs& ended) const;
  void wait_for(job_table::iterator at, std::vector<job_dependency> open);
  void dependency_changed(job_id job, const job_row& row);
  void settle_meanwhile(job_id job, std::vector<job_dependency>& open);
  void end_doomed();

  // modify.cpp
  caf::result<jobs_changed> modify(request<modify_jobs>& what);
  struct modification;
  void modify_more(const std::shared_ptr<modification>& what);
  void modify_one(const std::shared_ptr<modification>& what, job_id job);
  expected<void> admit_changed(modification& what, job_id job, const job_spec& spec,
                               const job_identity& who);
  void modify_over(const std::shared_ptr<modification>& what, job_id job, const error& why);
  void amend(const std::shared_ptr<modification>& what, job_id job, const submitted_event& found);
  void keep_modified(const std::shared_ptr<modification>& what, job_id job,
                     std::shared_ptr<submitted_event const> event);
  void modified(job_id job, std::shared_ptr<submitted_event const> event);
  void end_change(const std::shared_ptr<modification>& what, job_id job, const error& why);

  // configure.cpp
  queue_rows queues() const;
  expected<config_applied> apply(request<apply_config>& what);
  caf::result<reservation_rows> reserve(request<make_reservation>& what);
  caf::result<reservation_rows> unreserve(request<drop_reservation>& what);
  expected<void> possible(const reservation_row& what) const;
  reservation_rows reservations() const;
  bool is_over(const reservation_row& what) const;
  void take_reservation(const reservation_row& what);
  void forget_reservation(const std::string& name_of_it);
  void forget_ended_reservations();
  void begin_policy(scheduler_start& start);

  // change.cpp
  expected<change> select(const verified_capability& cap, const job_selector& selector,
                          const asking& what);
  bool matches(const job_record& job, const job_selector& selector) const;
  caf::result<jobs_changed> cancel(request<cancel_jobs>& what);
  void cancel(const verified_capability& cap, const cancel_jobs& what,
              caf::typed_response_promise<jobs_changed> promise);
  void cancel_waiting(const std::shared_ptr<waiting_change>& what);
  void keep_waiting(const waiting_change& what, const error& why);
  caf::result<jobs_changed> set_held(const verified_capability& cap, const job_selector& selector,
                                     bool held);
  void set_held_more(const std::shared_ptr<waiting_change>& what);
  caf::result<jobs_changed> signal(request<signal_jobs>& what);
  template <class M>
  void forward(const verified_capability& cap, const change& what, M message,
               const std::shared_ptr<gathering>& to);
  ledger_entry end_of_waiting(job_record& job, std::uint32_t by_uid, const std::string& reason);
  void leave(const std::vector<job_id>& ids, const exit_report& whole);

  // look.cpp
  caf::result<job_rows> queue(request<list_queue>& what);
  void tell_hold(job_row& row, const job_record& job) const;
  void add_expectations(job_rows rows, caf::typed_response_promise<job_rows> promise);
  caf::result<job_view> show(request<show_job>& what);
  caf::result<why_view> why(request<why_job>& what);
  why_view why_dependent(job_id id, const job_record& job) const;
  why_view why_view_aside(job_id id, const job_record& job) const;
  caf::result<element_location> locate(request<locate_element>& what);
  cluster_summary summary() const;
  void attach(request<attach_job>& what);
  void detach(const detach_follower& what);
  void check_unattended();

  // waiting.cpp
  caf::result<job_ends> await(request<await_jobs>& what);
  auth::checked<void> expect_ends(waiter& who, const target_set& named) const;
  static void ask_for_elements(waiter& who, job_id job);
  void go_on_waiting(const std::shared_ptr<waiter>& who);
  void take_ends(waiter& who, const query_ends& asked, ends_found& found);
  static void take_end(waiter& who, const job_end& end);
  void settle(const job_news& news);
  static bool take_news(waiter& who, const job_news& news);
  static void take_withdrawn(waiter& who, const job_news& news);
  void answer_waiter(const std::shared_ptr<waiter>& who);
  void refuse_waiter(const std::shared_ptr<waiter>& who, const caf::error& why);
  void forget_waiter(const waiter& who);
  bool refuse_if_ended(const std::shared_ptr<waiter>& who);
  void recheck_waiters();
  void ask_again(const std::shared_ptr<waiter>& who);

  // steps.cpp
  caf::result<step_begun> start_step(request<troupe::start_step>& what);
  caf::result<step_over> await_step(request<troupe::await_step>& what);
  caf::result<step_spawned> await_spawned(request<troupe::await_spawned>& what);
  caf::result<jobs_changed> signal_step(request<troupe::signal_step>& what);

  // stop.cpp
  void pause(bool on);
  caf::result<running_ending> end_running(request<troupe::end_running>& what);

  // place.cpp
  void keep_from_starting(job_id job);
  void place(place_jobs& what);
  void start(job_table::iterator at, place_jobs::placement what);
  void preempt(const std::vector<place_jobs::preemption>& what);
  void activate(job_table::iterator at);
  void activated(job_id job);
  void activate_with(job_id job, std::shared_ptr<submitted_event const> event);
  auth::checked<job_actor> spawn_job(job_birth birth);
  void end_unstartable(job_table::iterator at, const std::string& reason);
  void take_progress(job_progress& what);
  void tell_waiters(job_progress& what, std::optional<exit_report> whole);
  void plan(std::vector<plan_event> events);
  void give_back(job_id job, const std::vector<placed_unit>& units);

  // nodes.cpp
  caf::result<node_rows> list(request<list_nodes>& what);
  caf::result<node_rows> set(request<set_nodes>& what);
  void take_inventory(report_inventory& what);
  node_record* node_named(const std::string& name_of_node);
  void plan_node(std::uint32_t id);
  const node_record* find_node(const std::string& name_of_node) const;

  // begin.cpp
  void begin(scheduler_start start);
  void begin_nodes(const scheduler_start& start);
  void begin_reservations(const scheduler_start& start);
  void begin_job(recovered_job& job, const std::vector<std::shared_ptr<node_entry const>>& nodes,
                 std::vector<plan_event>& events);
  void set_aside(recovered_job& job, const std::vector<std::shared_ptr<node_entry const>>& nodes);

  status_report status() const;

  self_pointer self_;
  auth::guard_observer* guard_ = nullptr; ///< hears of what only a handler could refuse
  world& world_;
  verified_capability cap_;
  peers to_;
  job_table jobs_;
  row_keeper rows_;
  std::map<job_id, attendance> attended_;                 ///< attached jobs
  std::map<job_id, std::vector<job_dependency>> not_met_; ///< that a job still waits for
  std::map<std::uint32_t, node_record> nodes_;
  plan_names names_;
  plan::planner_core shapes_; ///< nodes only: says what is impossible
  std::shared_ptr<cluster_config const> config_;
  tally tally_;
  std::map<std::string, reservation_row> reservations_;
  std::map<std::string, boot_ns> over_since_; ///< of those that have ended by the wall clock
  plan::reservation_id last_reservation_ = 0;
  std::multimap<job_id, job_id> dependents_; ///< who waits for what becomes of a job
  std::vector<std::pair<job_id, std::string>> doomed_;
  meanwhile ended_meanwhile_; ///< while submissions with dependencies go to the ledger
  std::map<std::uint64_t, std::shared_ptr<waiter>> waiters_;
  std::map<std::uint32_t, std::uint64_t> waited_by_user_; ///< what they name, by uid
  std::uint64_t next_waiter_ = 1;
  std::multimap<job_id, parked_location> parked_;
  /// Changes that wait for a job's actor, which is being made; without one they are told so.
  std::multimap<job_id, std::function<void(const job_actor&)>> parked_changes_;
  std::uint64_t plan_sequence_ = 0;
  utc_ns started_utc_ns_ = 0;
  passed_time passed_{world_.clock};         ///< by which a warrant is over
  bool paused_ = false;                      ///< the cluster is stopping: nothing starts any more
  std::vector<place_jobs> placed_meanwhile_; ///< while it was paused
  std::uint64_t submitted_ = 0, finished_ = 0;
};

} // namespace troupe::actors
