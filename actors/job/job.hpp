// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/job/durable_writer.hpp"
#include "actors/job/slots.hpp"
#include "actors/job/step_places.hpp"
#include "actors/owed.hpp"
#include "actors/shell.hpp"
#include "auth/job_request.hpp"
#include "auth/order.hpp"
#include "base/interval_set.hpp"
#include "messages/shepherd.hpp"

#include <deque>
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
    bool queued = false;                   ///< counted by its node as such
    std::uint64_t order = 0;               ///< that brings it into the queue (slots.hpp); 0: none
    bool ordered = false;                  ///< its order has left
    bool ending = false;                   ///< its end is being written
    std::set<std::uint32_t> nodes_running; ///< nodes that have not reported its end
    /// After a restart: nodes whose launcher has not said yet what it has of it, and nodes whose
    /// launcher knows nothing of it. What was ordered in this life is never judged by silence: its
    /// order may be on its way behind the launcher's answer.
    std::set<std::uint32_t> unasked, absent;
    std::map<std::uint32_t, launcher_instance>
        instances; ///< of the launchers that it is ordered of, as its start names them
    std::set<std::uint32_t> unsent;  ///< nodes whose launcher does not have its order (yet)
    std::set<std::uint32_t> signing; ///< those of them whose order the authority has in its hands
    bool written = false;            ///< its start is durable
    bool ran = false;                ///< of several nodes: on some of them, to its end there
    std::vector<placement_part> parts;
    utc_ns ordered_utc_ns = 0; ///< of a step: first
    utc_ns started_utc_ns = 0;
    utc_ns ended_utc_ns = 0;
    std::uint64_t user_us = 0, system_us = 0, max_rss_bytes = 0;
    std::optional<exit_report> verdict; ///< the first rank's failure, a cancel, a loss
    std::string again;      ///< why it waits again once nothing of it runs; empty: it ends then
    boot_ns again_due = 0;  ///< not before
    bool returning = false; ///< nothing of it runs: it waits again when that is durable
    bool cancelled = false;
    std::string cancel_reason;
    bool preempted = false; ///< durably: when it has ended, it waits again
    std::string preempt_reason;
    std::uint32_t preempt_grace_s = 0;
    std::vector<node_record> unacknowledged;
    std::set<std::uint32_t> shepherds;                ///< nodes whose shepherd has spoken
    std::map<std::uint32_t, std::uint32_t> connected; ///< by node: ranks that called MPI_Init
    bool adopted = false;                             ///< it was ordered before a restart
    bool waits_for_steps = false;                     ///< its own ranks have ended
    std::shared_ptr<submitted_event const>
        asked; ///< a step's spec and warrant; none: the job's own
  };

  /// A step beyond step 0: ranks on cores of its element's.
  struct job_step {
    std::uint32_t element = no_element;
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
    owed<step_begun> promise;
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

  /// Elements that are written and ordered together.
  struct chunk {
    std::uint32_t incarnation = 1;
    std::uint32_t first = no_element;
    std::uint32_t last = no_element;
    std::vector<placement_part> parts; ///< of one element
    bool lone = true;
  };

  /// An order that no launcher has in its hands: elements that are placed, for one node.
  struct unsent_order {
    std::uint32_t incarnation = 1;
    std::uint32_t first = no_element;
    std::uint32_t last = no_element;
    std::uint32_t node = 0;
    boot_ns due = 0; ///< not before
  };

  struct unsent_step {
    std::uint32_t step;
    std::uint32_t node;
    boot_ns due; ///< not before
  };

  struct drafted_order {
    unsent_order what;
    sealed_order order;
  };

  /// An element that waits again, but not yet: what kept it from starting may pass.
  struct resting_element {
    std::uint32_t incarnation;
    std::uint32_t element;
  };

  struct ends_batch {
    std::vector<std::uint32_t> elements;
    job_row row;
  };

  struct preempt_order {
    std::uint32_t grace_s;
    std::string reason;
  };

  struct parked_location {
    std::uint32_t element;
    std::uint32_t step;
    verified_capability cap;
    owed<element_location> promise;
  };

  // start.cpp
  bool runs_once() const { return event_->spec.batch; }
  std::string nodelist_of(const std::vector<placement_part>& parts) const;
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
  std::optional<std::pair<std::uint32_t, std::pair<std::uint32_t, std::uint32_t>>>
  take_unstarted(std::uint64_t count_max);
  node_slots& slots_on(std::uint32_t node);
  job_node node_of(std::uint32_t node) const;
  template <class M>
  bool tell_node(std::uint32_t node, M message) const {
    return node_of(node).tell(cap_, std::move(message));
  }
  void route(std::uint32_t node, node_slots& at);

  // slots.cpp
  static slot_state& free_slot(node_slots& at);
  static void keep_idle(node_slots& at, std::uint64_t count);
  void release_idle_slots(std::uint32_t node);
  void note_order(const unsent_order& what);
  void forget_order(active_element& what, bool started);
  void forget_orders(const unsent_order& what);
  void forget_queued(active_element& what, bool started = false);
  void use_slots_left();

  // orders.cpp: from a place to an order in a launcher's hands
  void write(std::vector<chunk> chunks);
  std::vector<chunk> not_written(const std::vector<chunk>& chunks) const;
  ledger_entry starting_entry(const chunk& what);
  void starts_kept(const std::vector<chunk>& chunks);
  void forget_unwritten(const std::vector<chunk>& chunks);
  static bool is_nowhere(const active_element& what);
  bool awaits_order(const active_element& what, const unsent_order& order) const;
  std::vector<unsent_order> runs_of(const unsent_order& what) const;
  bool is_whole(const unsent_order& what) const;
  void note_signing(const unsent_order& what, bool on);
  bool must_wait(const unsent_order& what);
  bool waits_for_queue(std::uint32_t node) const;
  bool is_for_launcher(const unsent_order& what) const;
  void never_left(const unsent_order& what, const std::string& why);
  void part_never_left(std::uint32_t element, active_element& what, std::uint32_t node,
                       const std::string& why, boot_ns due = 0);
  auth::launch_order identity_order() const;
  expected<bytes> encode_order_for(const chunk& what, std::size_t part_index) const;
  expected<bytes> encode_run(const unsent_order& what) const;
  void send_orders();
  void sign(std::shared_ptr<std::vector<drafted_order>> drafts);
  void not_signed(const std::shared_ptr<std::vector<drafted_order>>& drafts, const caf::error& why);
  void hold_back(const std::vector<drafted_order>& drafts, const std::string& why);
  void send(std::vector<drafted_order>& drafts);
  void forget_signed(const unsent_order& what);
  void fail_run(const unsent_order& what, const std::string& why);
  void part_refused(std::uint32_t element, active_element& what, std::uint32_t node,
                    const std::string& why);
  boot_ns hold_signing(const std::string& why);
  boot_ns hold_node(std::uint32_t node, const std::string& why);
  void take_refusal(std::uint32_t node, const element_record& record);
  void end_unsent(std::uint32_t element, active_element& what);

  // requeue.cpp: waiting again
  void put_back(std::uint32_t element, active_element& what, const std::string& why,
                boot_ns due = 0);
  void write_returns();
  std::optional<append_entries> requeue_entries(std::vector<std::uint32_t>& batch);
  void returns_kept(const std::vector<std::uint32_t>& elements);
  void withdraw_cancelled(const interval_set& elements);
  void wake_resting();
  void wake_resting(const std::vector<number_range>& ranges);
  void tell_planner_of_waiting();

  // records.cpp
  void take_records(std::uint32_t node, std::vector<element_record>& records);
  void apply(std::uint32_t node, const std::vector<element_record>& records);
  void go_on(std::uint32_t node);
  void take_started(std::uint32_t node, const element_record& record);
  void note_start(active_element& what, const element_record& record) const;
  slot_state* settle(node_slots& at, active_element& what, std::uint32_t slot);
  void take_exit(std::uint32_t node, const element_record& record);
  void note_exit(active_element& what, const element_record& record) const;
  void take_revoked(std::uint32_t node, const element_record& record);
  void part_over(std::uint32_t element, active_element& what);
  void element_over(std::uint32_t element, active_element& what);
  node_record record_of(std::uint32_t node, const element_record& record);
  void acknowledge(const std::vector<node_record>& records);
  void count_end(const exit_report& report);
  bool is_over() const;
  void write_ends();
  std::optional<append_entries> end_entries(ends_batch& batch);
  void ends_kept(const std::vector<std::uint32_t>& elements);
  void note_shortage(std::uint32_t node, std::uint32_t element, active_element& what,
                     const element_record& record);
  void run_again(std::uint32_t element, active_element& what);
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
  active_element* find_element(std::uint32_t element);
  job_step* find_step(std::uint32_t number);
  const job_spec& spec_of(const active_element& what) const {
    return what.asked ? what.asked->spec : event_->spec;
  }
  const step_started_event& origin_of(const active_element& what) const;
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
  void begin(waiting_step waiting, std::uint32_t incarnation, std::vector<placement_part> parts);
  void write_step(std::uint32_t number, waiting_step waiting);
  void refuse(waiting_step& waiting, const error& why);
  void give_up_step(std::uint32_t number, waiting_step& waiting, const error& why);
  void order_step(std::uint32_t number);
  void send_step_orders();
  void sign_step(std::uint32_t number, std::vector<std::uint32_t> nodes);
  void send_step(std::uint32_t number, std::vector<std::pair<std::uint32_t, sealed_order>>& orders);
  void drop_unsent(job_step& what);
  void fail_step(std::uint32_t number, const std::string& why);
  expected<bytes> encode_step_order(const job_step& what, std::size_t part_index) const;

  // step_records.cpp: from a launcher's records to a durable end
  std::vector<element_record> take_step_records(std::uint32_t node,
                                                std::vector<element_record>& records);
  bool take_step_record(std::uint32_t node, const element_record& record);
  void step_part_over(std::uint32_t node, job_step& what);
  void take_step_refusal(std::uint32_t node, job_step& what, const element_record& record);
  void order_step_again(std::uint32_t node, job_step& what, const element_record& record);
  std::optional<append_entries> step_end_entries(std::vector<std::uint32_t>& batch);
  void remember_ended(std::uint32_t number, ended_step what);
  void ranks_gone(job_step& what, std::uint32_t node);
  void end_step_ranks(job_step& what);
  void write_step_ends();
  void step_end_kept(std::uint32_t number);
  bool has_steps(std::uint32_t element, const active_element& what) const;
  void leave_slot(std::uint32_t element);
  bool wait_for_steps(std::uint32_t element, active_element& what);
  void go_on_without_steps(std::uint32_t element);

  // step_recovery.cpp
  void take_asked(job_step& what, std::shared_ptr<submitted_event const> asked);
  void recover_steps(std::vector<step_story> steps);
  std::vector<std::uint32_t> reconcile_steps(reconcile_job& what, bool same_launcher);
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
  void cancel_kept(const interval_set& placed);
  void cancel_refused(const interval_set& placed);
  interval_set cancel_active(const std::vector<number_range>& ranges, const std::string& reason);
  std::map<std::uint32_t, interval_set> withdraw(const std::vector<number_range>& ranges);
  void restore(const std::map<std::uint32_t, interval_set>& withdrawn);
  void tell_withdrawn(const std::map<std::uint32_t, interval_set>& withdrawn,
                      const std::string& reason);
  append_entries cancel_entries(const cancel_elements& what,
                                const std::map<std::uint32_t, interval_set>& withdrawn,
                                const interval_set& placed);
  void set_lease(bool allowed);

  // stop.cpp
  caf::result<elements_stopping> stop(const stop_elements& what);
  void withdraw_queued();
  void put_back_unsent();

  // preempt.cpp
  void preempt(const preempt_units& what);
  void retry_preemptions();
  static bool may_be_preempted(const active_element& what);
  void write_preemptions(std::vector<std::uint32_t> elements);
  std::optional<append_entries> preemption_entries(std::vector<std::uint32_t>& batch);
  bool awaits_start(std::uint64_t unit) const;
  void end_preempted(std::uint32_t element, active_element& what);
  bool requeues_preempted(std::uint32_t element, active_element& what);

  // reconcile.cpp
  void recover(const std::vector<placed_chunk>& chunks,
               const std::vector<std::shared_ptr<node_entry const>>& nodes);
  job_agreed reconcile(reconcile_job& what);
  void forget_starts_of_ended(reconcile_job& what);
  static bool is_ordered_of(const active_element& what, const reconcile_job& from,
                            bool same_launcher);
  std::uint64_t restore_unit(std::vector<placement_part> parts, utc_ns started);
  void restore_slot(node_slots& at, std::uint32_t slot, utc_ns started);
  static active_element adopted_element(const placed_chunk& what, std::uint32_t element);
  void adopt_lone(const placed_chunk& what);
  void adopt_wide(const placed_chunk& what);
  void adopt_running(std::uint32_t node,
                     const std::vector<report_inventory::running_group>& groups);
  void note_absence(std::uint32_t element, active_element& what);
  void forget_absent(active_element& what);
  void forbid_requeue(active_element& what) const;
  void lose(std::uint32_t element, active_element& what, std::uint32_t node,
            const std::string& why);
  void lose_gone();
  void part_lost(std::uint32_t element, active_element& what, const std::string& why);

  // job.cpp
  caf::result<element_location> locate(request<locate_element>& what);
  caf::result<job_view> view(request<get_job_view>& what) const;
  element_view element_row(std::uint32_t element, const active_element& what) const;
  element_location location_of(const active_element& what) const;
  void answer_parked(std::uint32_t element);
  void publish();
  void follow_up();
  void wake();
  void set_alarm();
  void update_row();
  bool all_over() const;
  std::uint64_t unstarted_count() const;
  std::uint64_t waiting_count() const;
  void planner_event(plan_event::kind what, std::uint64_t unit, std::uint32_t elements = 0,
                     utc_ns predicted_end_ns = 0);
  status_report status(status_verbosity verbosity) const;
  utc_ns predicted_end(utc_ns started) const;
  utc_ns end_of_run() const;
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
  std::map<std::uint64_t, preempt_order> preempt_later_; ///< by unit: not done yet
  backoff preempt_wait_{std::chrono::milliseconds(100), std::chrono::seconds(10)};
  boot_ns preempt_due_ = 0;
  std::vector<std::uint32_t> to_return_; ///< elements that wait again when that is durable
  std::multimap<boot_ns, resting_element> resting_;
  std::set<std::uint32_t> left_; ///< nodes where less is queued than their slots were kept for
  std::vector<unsent_order> unsent_;
  std::vector<unsent_step> unsent_steps_;
  boot_ns signing_due_ = 0; ///< the authority signs nothing before
  backoff signing_wait_ = usual_backoff();
  std::string waits_because_;           ///< what stood in an order's way last
  std::vector<std::uint32_t> to_write_; ///< elements whose end is to be written
  std::uint32_t asks_in_flight_ = 0;    ///< of the authority
  std::uint32_t incarnations_max_ = 1;  ///< that the job's warrant allows
  utc_ns first_promised_utc_ns_ = 0, last_promised_utc_ns_ = 0; ///< of the start being written
  std::optional<boot_time> started_at_;  ///< when the row says so, if this process was there
  std::set<std::uint32_t> incarnations_; ///< that were ordered
  bool lease_ = false;
  bool finished_ = false;
  bool stopping_ = false;  ///< the cluster is: nothing more is ordered
  double mean_run_ns_ = 0; ///< of elements that ended; 0: none yet

  std::uint32_t completed_ = 0, failed_ = 0, cancelled_ = 0, timed_out_ = 0, lost_ = 0;
  std::optional<exit_report> worst_;

  std::vector<plan_event> plan_events_;
  std::vector<job_end> ends_;
  std::vector<parked_location> parked_;

  std::map<std::uint32_t, job_step> steps_; ///< by number
  std::vector<waiting_step> waiting_steps_;
  std::set<caf::actor_addr> watched_clients_;
  std::map<std::uint32_t, ended_step> ended_steps_; ///< the last `ended_steps_max` that ended
  std::deque<std::uint32_t> ended_order_;           ///< in the order of their ends
  static constexpr std::size_t ended_steps_max = 4096;
  static constexpr std::size_t waiting_steps_max = 4096;
  struct step_waiter {
    std::uint32_t step;
    verified_capability cap;
    owed<step_over> promise;
  };
  std::vector<step_waiter> step_waiters_;
  struct spawn_waiter {
    request<troupe::await_spawned> what;
    owed<step_spawned> promise;
  };
  std::vector<spawn_waiter> spawn_waiters_;
  std::vector<std::uint32_t> step_ends_; ///< to be written
  std::uint32_t next_step_ = 1;

  std::uint64_t restored_units_ = 0;

  durable_writer writer_;
  alarm<std::remove_pointer_t<self_pointer>> alarm_;
};

} // namespace troupe::actors
