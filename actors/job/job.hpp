// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/job/step_places.hpp"
#include "actors/shell.hpp"
#include "auth/job_request.hpp"
#include "auth/order.hpp"
#include "base/interval_set.hpp"
#include "messages/shepherd.hpp"

#include <map>
#include <optional>
#include <set>

namespace troupe::actors {

/// Where a job actor finds the others.
struct job_links {
  ledger_actor ledger;
  authority_actor authority;
  scheduler_actor scheduler;
};

/// A chunk of elements that were placed but whose end is not known: the ledger's `starting` events,
/// folded; given to a job actor after a restart.
struct placed_chunk {
  std::uint32_t incarnation = 1;
  std::uint32_t element_first = no_element;
  std::uint32_t element_last = no_element;
  interval_set ended;        ///< of this chunk
  interval_set preempted;    ///< told to end and to wait again
  std::string preempted_why; ///< the last of them
  interval_set cancelled;    ///< of this chunk: to be ended
  std::string cancel_reason;
  starting_event starting;
};

/// A step that had been started and whose end is not known, after a restart; or one that has ended.
struct step_story {
  std::uint32_t incarnation = 1;
  step_started_event started;
  std::optional<step_ended_event> ended;
};

/// What a job actor is made from: a new job when it first starts, or its story after a restart.
struct job_birth {
  job_id job = 0;
  std::shared_ptr<submitted_event const> event;
  job_row row;
  verified_capability cap; ///< what its warrant allows
  /// Elements that have not been placed, by incarnation.
  std::map<std::uint32_t, interval_set> unstarted;
  /// After a restart: what had been placed, on which nodes, and how many had ended how.
  std::vector<placed_chunk> placed;
  std::vector<std::shared_ptr<node_entry const>> nodes;
  std::vector<exit_report> ended;
  std::vector<step_story> steps;
};

/// One submitted record from its first start to its durable end: its unstarted elements are
/// intervals; each element that was placed is here until its end is durable. It writes `starting`
/// before an order leaves, and `ended` before a launcher's record is acknowledged.
class job_state_machine {
public:
  using interface = job_actor;
  using self_pointer = interface::pointer;
  static inline const char* name = "job";

  job_state_machine(self_pointer self, world& around, job_links links, job_birth birth);

  interface::behavior_type make_behavior(auth::guard_observer& guard);
  std::string display_name() const;

private:
  /// A launcher's record: its numbers begin anew with each launcher.
  struct node_record {
    std::uint32_t node;
    launcher_instance instance;
    std::uint64_t sequence;
  };

  /// An element that was placed: written, ordered, running, or ended but not yet durable. Its ranks
  /// are those of step 0; a further step's are kept in the same way.
  struct active_element {
    std::uint32_t step = 0;
    std::uint32_t incarnation = 1;
    job_state state = job_state::starting;
    std::uint64_t unit = 0;                ///< 0: waits at the launcher for a slot
    std::uint32_t node = 0;                ///< of a lone part
    bool ordered = false;                  ///< its order has left
    bool ending = false;                   ///< its end is being written
    std::set<std::uint32_t> nodes_running; ///< nodes that have not reported its end
    /// After a restart: nodes whose launcher has not said yet what it has of it, and nodes whose
    /// launcher knows nothing of it. What was ordered in this life is never judged by silence: its
    /// order may be on its way behind the launcher's answer.
    std::set<std::uint32_t> unasked, absent;
    std::set<std::uint32_t> refused; ///< nodes whose launcher did not take its order
    std::vector<placement_part> parts;
    utc_ns started_utc_ns = 0;
    utc_ns ended_utc_ns = 0;
    std::uint64_t user_us = 0, system_us = 0, max_rss_bytes = 0;
    std::optional<exit_report> verdict; ///< the first rank's failure, a cancel, a loss
    std::string again; ///< why it waits again once nothing of it runs; empty: it ends then
    bool cancelled = false;
    std::string cancel_reason;
    bool preempted = false; ///< durably: when it has ended, it waits again
    std::string preempt_reason;
    std::vector<node_record> unacknowledged;
    std::set<std::uint32_t> shepherds;                ///< nodes whose shepherd has spoken
    std::map<std::uint32_t, std::uint32_t> connected; ///< by node: ranks that called MPI_Init
    bool adopted = false;                             ///< it was ordered before a restart
    bool waits_for_steps = false;                     ///< its own ranks have ended
  };

  /// A step beyond step 0: ranks on cores of its element's.
  struct job_step {
    std::uint32_t element = no_element;
    std::shared_ptr<submitted_event const> asked; ///< its spec and its warrant
    bytes exec_bytes;
    digest exec_digest{};
    auth::request_id request{}; ///< all zero: a rank spawned it
    active_element ranks;       ///< `parts` as its element's, without ranks where it has none
    step_started_event spawned; ///< of a spawn: by whom
    std::set<std::uint32_t> unregistered; ///< nodes whose shepherd does not know it yet
    bool durable = false;
  };

  /// A step that was asked for and waits for cores.
  struct waiting_step {
    verified_capability cap;
    std::uint32_t element = no_element;
    submission what;
    auth::request_id request{};
    caf::typed_response_promise<step_begun> promise;
    caf::actor_addr client; ///< whose connection asked; none: a rank did
    step_started_event spawned;
  };

  /// What is remembered of a step that has ended.
  struct ended_step {
    auth::request_id request{};
    element_location where;
    step_view view;
    step_started_event spawned;
  };

  /// A place for one element at a time on one node; the launcher numbers them as we do.
  struct slot_state {
    std::uint64_t unit = 0; ///< 0: a hole
    placement_part part;
    bool busy = false; ///< an element was seen to start in it
    bool lone = true;  ///< the unit is on this node alone
    std::uint32_t element = no_element;
    /// Whose elements its launcher may start in it: a launcher counts its slots by group, and an
    /// incarnation is a group.
    std::uint32_t incarnation = 0;

    bool is_idle() const { return unit != 0 && lone && !busy; }
  };

  struct node_slots {
    std::shared_ptr<node_entry const> entry;
    std::vector<slot_state> slots;
    std::uint32_t queued = 0; ///< ordered here, not seen to start
    std::uint32_t fresh = 0;  ///< units given by the planner that no element was taken for yet
    /// Slots before a restart, as the last order named them. Which of them are still the job's,
    /// the elements tell that run in them: what was given back was never written down.
    std::map<std::uint32_t, placement_part> before;
    bool routed = false;
  };

  /// Elements that are written and ordered together.
  struct chunk {
    std::uint32_t incarnation = 1;
    std::uint32_t first = no_element;
    std::uint32_t last = no_element;
    std::vector<placement_part> parts; ///< of one element
    bool lone = true;
  };

  struct parked_location {
    std::uint32_t element;
    std::uint32_t step;
    verified_capability cap;
    caf::typed_response_promise<element_location> promise;
  };

  // start.cpp
  bool runs_once() const { return event_->spec.batch; }
  std::size_t ordered_parts(const std::vector<placement_part>& parts) const {
    return runs_once() ? 1 : parts.size();
  }
  void start(std::vector<placed_unit> units, std::vector<std::shared_ptr<node_entry const>> nodes);
  void place_lone(placed_unit unit, std::vector<std::uint32_t>& touched);
  void place_wide(placed_unit unit, std::vector<chunk>& chunks);
  void fill(std::uint32_t node, std::vector<chunk>& chunks);
  std::uint32_t ahead_target(const node_slots& at) const;
  std::optional<std::uint32_t> queued_incarnation(std::uint32_t node) const;
  bool is_open(const slot_state& slot, const chunk& what) const;
  bool open_slots(node_slots& at, std::uint32_t incarnation) const;
  void release_idle_slots(std::uint32_t node);
  void write(std::vector<chunk> chunks);
  void order(std::vector<chunk> chunks);
  bool resolve_unordered(const chunk& what);
  void put_back(const chunk& what, const std::string& why);
  auth::launch_order identity_order() const;
  expected<bytes> encode_order_for(const chunk& what, std::size_t part_index) const;
  std::optional<std::pair<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>>>
  take_unstarted(std::uint64_t count_max);
  node_slots& slots_on(std::uint32_t node);
  void route(std::uint32_t node, node_slots& at);

  // records.cpp
  void take_records(std::uint32_t node, std::vector<element_record>& records);
  void apply(std::uint32_t node, const std::vector<element_record>& records);
  void go_on(std::uint32_t node);
  void take_started(std::uint32_t node, const element_record& record);
  void note_start(active_element& what, const element_record& record) const;
  slot_state* settle(node_slots& at, active_element& what, std::uint32_t slot);
  void take_exit(std::uint32_t node, const element_record& record);
  void note_exit(active_element& what, const element_record& record) const;
  void take_refusal(std::uint32_t node, const element_record& record);
  void take_revoked(std::uint32_t node, const element_record& record);
  void part_over(std::uint32_t element, active_element& what);
  void element_over(std::uint32_t element, active_element& what);
  node_record record_of(std::uint32_t node, const element_record& record);
  void acknowledge(const std::vector<node_record>& records);
  void count_end(const exit_report& report);
  void write_ends();
  void ends_kept(std::vector<std::uint32_t> elements, utc_ns at);
  void free_unit(const active_element& what, std::uint32_t element);
  void end_other_nodes(std::uint32_t element, const active_element& what, std::uint32_t except);
  exit_report final_report(const active_element& what) const;
  ledger_entry end_entry(std::uint32_t element, const active_element& what);
  static std::uint32_t cores_of(const active_element& what);
  static double core_seconds_of(const active_element& what);

  // steps.cpp: what is asked of steps
  caf::result<step_begun> start_step(request<troupe::start_step>& what);
  caf::result<step_over> await_step(request<troupe::await_step>& what);
  caf::result<step_spawned> await_spawned(request<troupe::await_spawned>& what);
  std::optional<std::uint32_t> next_spawned(const troupe::await_spawned& what) const;
  void answer_spawn_waiters();
  caf::result<jobs_changed> signal_step(request<troupe::signal_step>& what);
  caf::result<element_location> locate_step(request<locate_element>& what);
  expected<void> step_fits(const waiting_step& what, const active_element& element) const;
  const job_spec& spec_of(const active_element& what) const;
  element_location location_of(const job_step& what) const;
  step_view view_of(const job_step& what) const;
  void add_steps(std::uint32_t element, std::vector<step_view>& to) const;
  void answer_parked_step(std::uint32_t step);
  void watch_clients();
  void client_gone(const caf::actor_addr& client);
  void end_step(job_step& what, const std::string& reason);
  void signal_ranks(const job_step& what, std::int32_t number);

  // step_start.cpp: from waiting to an order
  step_wish wish_of(const job_spec& spec, const active_element& element) const;
  taken_cores cores_taken(std::uint32_t element) const;
  void begin_waiting_steps();
  void begin(waiting_step waiting, std::vector<placement_part> parts);
  void write_step(std::uint32_t number, waiting_step waiting);
  void refuse(waiting_step& waiting, const error& why);
  void order_step(std::uint32_t number);
  void fail_step(std::uint32_t number, const std::string& why);
  expected<bytes> encode_step_order(const job_step& what, std::size_t part_index) const;

  // step_records.cpp: from a launcher's records to a durable end
  std::vector<element_record> take_step_records(std::uint32_t node,
                                                std::vector<element_record>& records);
  bool take_step_record(std::uint32_t node, const element_record& record);
  void ranks_gone(job_step& what, std::uint32_t node);
  void end_step_ranks(job_step& what);
  void write_step_ends();
  void step_end_kept(std::uint32_t number);
  bool wait_for_steps(std::uint32_t element, active_element& what);
  void go_on_without_steps(std::uint32_t element);

  // step_recovery.cpp
  void recover_steps(std::vector<step_story> steps);
  void reconcile_steps(reconcile_job& what);
  void note_step_absence(std::uint32_t number);
  void lose_steps(std::uint32_t element, std::uint32_t incarnation, const std::string& why);

  // mpi.cpp
  bool is_mpi() const { return event_->spec.mpi != mpi_mode::none; }
  active_element* ranks_of(std::uint32_t element, std::uint32_t step);
  std::string nspace_of(std::uint32_t element, const active_element& what) const;
  std::uint32_t root_of(const active_element& what) const;
  std::uint32_t keeper_of(const active_element& what) const;
  std::vector<const active_element*> relatives_of(std::uint32_t element,
                                                  const active_element& what) const;
  void note_shepherd(std::uint32_t element, active_element& active, std::uint32_t node);
  void last_word(std::uint32_t element, std::uint32_t step, std::uint32_t node);
  void answer_spawn(std::uint32_t element, const step_started_event& spawned,
                    const std::string& nspace, const std::string& error);
  void spawn(std::uint32_t element, const active_element& what, std::uint32_t node,
             const shepherd::spawn_request& asked);
  bool spawn_known(std::uint32_t element, std::uint32_t node_index, std::uint64_t request);
  void step_registered(std::uint32_t element, std::uint32_t node, std::uint32_t step);
  void shepherd_gone(std::uint32_t element, active_element& active, std::uint32_t node);
  bool is_served(std::uint32_t element, const active_element& active, std::uint32_t node) const;
  void tell_of_gone(std::uint32_t element, const active_element& active, std::uint32_t node);
  void say_gone(std::uint32_t element, const active_element& active, std::uint32_t to,
                std::uint32_t gone);
  void pass_on(std::uint32_t element, const active_element& active, std::uint32_t from,
               const shepherd::relay& what);
  std::set<std::uint32_t> tend(std::uint32_t element, const active_element& what);
  shepherd::register_step step_of(std::uint32_t element, const active_element& what,
                                  std::uint32_t node_index) const;
  void tell_its_shepherd(std::uint32_t node, std::uint32_t element, const active_element& what,
                         shepherd::to_shepherd frame);
  void hear(hear_shepherd& what);
  void hear(std::uint32_t element, active_element& to, std::uint32_t node,
            const shepherd::to_agent& what);
  void abort(std::uint32_t element, active_element& what, const shepherd::abort& asked);
  std::string unconnected(const active_element& what) const;

  // end.cpp
  caf::result<jobs_changed> cancel(request<cancel_elements>& what);
  caf::result<jobs_changed> signal(request<signal_elements>& what);
  interval_set cancel_active(const std::vector<number_range>& ranges, const std::string& reason);
  std::map<std::uint32_t, interval_set> withdraw(const std::vector<number_range>& ranges);
  void restore(const std::map<std::uint32_t, interval_set>& withdrawn);
  append_entries cancel_entries(const cancel_elements& what,
                                const std::map<std::uint32_t, interval_set>& withdrawn,
                                const interval_set& placed);
  void set_lease(bool allowed);

  // preempt.cpp
  void preempt(const preempt_units& what);
  void preempt_soon(std::uint64_t unit, const preempt_units& what);
  bool awaits_start(std::uint64_t unit) const;
  void end_preempted(const std::vector<std::uint32_t>& elements, std::uint32_t grace_s);
  bool requeues_preempted(std::uint32_t element, active_element& what);

  // reconcile.cpp
  void recover(const std::vector<placed_chunk>& chunks,
               const std::vector<std::shared_ptr<node_entry const>>& nodes);
  job_agreed reconcile(reconcile_job& what);
  void remember_instances(const starting_event& starting);
  std::uint64_t restore_unit(std::vector<placement_part> parts, utc_ns started);
  void restore_slot(node_slots& at, std::uint32_t slot, utc_ns started);
  static active_element adopted_element(const placed_chunk& what, std::uint32_t element);
  void adopt_lone(const placed_chunk& what);
  void adopt_wide(const placed_chunk& what);
  void adopt_running(std::uint32_t node,
                     const std::vector<report_inventory::running_group>& groups);
  void forget_queued(const active_element& what);
  void note_absence(std::uint32_t element, active_element& what);
  void forget_absent(active_element& what);
  void lose(std::uint32_t element, active_element& what, std::uint32_t node);
  void part_lost(std::uint32_t element, active_element& what, const std::string& why);
  void put_back(std::uint32_t element, active_element& what, const std::string& why);

  // job.cpp
  caf::result<element_location> locate(request<locate_element>& what);
  caf::result<job_view> view(request<get_job_view>& what) const;
  element_view element_row(std::uint32_t element, const active_element& what) const;
  element_location location_of(const active_element& what) const;
  void answer_parked(std::uint32_t element);
  void publish();
  void update_row();
  bool all_over() const;
  std::uint64_t unstarted_count() const;
  void planner_event(plan_event::kind what, std::uint64_t unit, std::uint32_t elements = 0,
                     utc_ns predicted_end_ns = 0);
  status_report status(status_verbosity verbosity) const;
  utc_ns predicted_end(utc_ns started) const;
  void finish();

  self_pointer self_;
  world& world_;
  job_links links_;
  job_id job_;
  std::shared_ptr<submitted_event const> event_;
  bytes exec_bytes_;
  digest exec_digest_{};
  verified_capability cap_;
  job_row row_;

  std::map<std::uint32_t, interval_set> unstarted_; ///< by incarnation
  std::map<std::uint32_t, active_element> active_;  ///< by element
  std::map<std::uint32_t, node_slots> nodes_;
  std::vector<preempt_units> preempt_later_; ///< not ordered yet
  /// Elements whose requeue is on its way to the disk: what is to be acknowledged when it is there.
  std::map<std::uint32_t, std::shared_ptr<std::vector<node_record>>> putting_back_;
  std::vector<chunk> unwritten_;        ///< whose `starting` the disk did not take
  std::vector<std::uint32_t> to_write_; ///< elements whose end is to be written
  std::uint32_t writes_in_flight_ = 0;
  utc_ns first_promised_utc_ns_ = 0, last_promised_utc_ns_ = 0; ///< of the start being written
  std::set<std::uint32_t> incarnations_;                        ///< that were ordered
  bool lease_ = false;
  bool finished_ = false;
  double mean_run_ns_ = 0; ///< of elements that ended; 0: none yet

  std::uint32_t completed_ = 0, failed_ = 0, cancelled_ = 0, timed_out_ = 0, lost_ = 0;
  std::optional<exit_report> worst_;

  std::vector<plan_event> plan_events_;
  std::vector<job_end> ends_;
  std::vector<parked_location> parked_;

  std::map<std::uint32_t, job_step> steps_; ///< by number
  std::vector<waiting_step> waiting_steps_;
  std::set<caf::actor_addr> watched_clients_;
  std::map<std::uint32_t, ended_step> ended_steps_; ///< the last `ended_steps_max`
  static constexpr std::size_t ended_steps_max = 4096;
  static constexpr std::size_t waiting_steps_max = 4096;
  struct step_waiter {
    std::uint32_t step;
    verified_capability cap;
    caf::typed_response_promise<step_over> promise;
  };
  std::vector<step_waiter> step_waiters_;
  struct spawn_waiter {
    request<troupe::await_spawned> what;
    caf::typed_response_promise<step_spawned> promise;
  };
  std::vector<spawn_waiter> spawn_waiters_;
  std::vector<std::uint32_t> step_ends_; ///< to be written
  std::uint32_t next_step_ = 1;

  std::uint64_t restored_units_ = 0;
};

} // namespace troupe::actors
