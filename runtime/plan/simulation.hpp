// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/estimates.hpp"
#include "runtime/plan/snapshot.hpp"

#include <map>
#include <optional>
#include <set>
#include <unordered_map>

namespace troupe::plan {

/// Nodes by how much is free of them, so that a search begins with those that fit most tightly.
class node_buckets {
public:
  explicit node_buckets(const queue_snapshot& from);

  const node_room& at(std::uint32_t node) const { return nodes_[node]; }
  bool up(std::uint32_t node) const { return ups_[node] != 0; }
  std::size_t size() const { return nodes_.size(); }
  void add(std::uint32_t node, const amounts& what, std::int32_t sign);
  bool may_hold(const unit_need& need) const;

  /// Calls f(node) for nodes with at least so much free until it returns false, those with least
  /// first.
  template <class F>
  void each(std::uint32_t cores, std::uint32_t gpus, F&& f) const {
    const auto& buckets = gpus > 0 ? by_gpus_ : by_cores_;
    for (std::size_t i = gpus > 0 ? gpus : std::max(cores, 1u); i < buckets.size(); ++i)
      for (auto node : buckets[i])
        if ((gpus == 0 || nodes_[node].cores >= cores) && !f(node))
          return;
  }

  /// The same, those with most cores first.
  template <class F>
  void each_from_roomiest(std::uint32_t cores, F&& f) const {
    for (auto i = by_cores_.size(); i-- > std::max(cores, 1u);)
      for (auto node : by_cores_[i])
        if (!f(node))
          return;
  }

private:
  using lists = std::vector<std::vector<std::uint32_t>>;
  static void insert(lists& in, std::vector<std::uint32_t>& places, std::uint32_t node,
                     std::size_t bucket);
  static void erase(lists& from, std::vector<std::uint32_t>& places, std::uint32_t node,
                    std::size_t bucket);

  std::vector<node_room> nodes_;
  std::vector<std::uint8_t> ups_;
  lists by_cores_, by_gpus_;
  std::vector<std::uint32_t> place_by_cores_, place_by_gpus_;
};

/// EASY backfill with one reservation, forward in time, every unit running to its limit: when each
/// waiting job starts. Where units are placed differs from the planner's own choice: nodes are
/// filled as tightly as possible, and only `looked_at_max` classes are tried behind the first.
class queue_simulation {
public:
  queue_simulation(const queue_snapshot& from, std::uint64_t units_max);

  /// Until everything has started, nothing can, or `until_started` has.
  void run(std::optional<job_id> until_started);

  /// In the order of the queue.
  std::vector<start_estimates::entry> starts() const;
  std::optional<instant> start_of_wanted() const { return start_of_wanted_; }
  /// Where the job that it ran for was placed.
  const std::vector<task_share>& where() const { return chosen_; }

private:
  struct job_class {
    std::uint32_t shape = 0;
    queue_snapshot::limit_rows limits{};
    duration limit = never;
    least_need least;
    std::vector<std::uint32_t> waiting;          ///< positions, a heap with the first on top
    std::uint32_t listed = queue_snapshot::none; ///< under which position
  };
  struct shape_memo {
    std::uint64_t no_room_in_pass = 0;    ///< nowhere
    std::uint64_t not_beside_in_pass = 0; ///< not beside the reservation, with that limit or more
    duration not_beside_limit = never;
  };
  struct running_unit {
    std::shared_ptr<const std::vector<queue_snapshot::share>> held;
    queue_snapshot::limit_rows limits{};
    std::uint32_t position = queue_snapshot::none;
    std::uint64_t cores = 0;
  };

  const queue_snapshot::job& job_at(std::uint32_t position) const;
  void join(std::uint32_t position);
  void list(std::uint32_t index);
  void pass();
  bool limited(const job_class& group) const;
  bool try_start(job_class& group, bool beside);
  bool choose(const job_class& group, instant end, bool beside);
  bool offer(const unit_need& need, std::uint32_t node, instant end, bool beside);
  bool settle(const unit_need& need);
  bool closed(std::uint32_t node, instant end) const;
  void start(job_class& group, instant end);
  void reserve(const job_class& group);
  bool advance();
  void give_back(const queue_snapshot::share& held);
  bool still_awaited(std::uint32_t position) const;
  void end(const running_unit& unit);
  void count(const queue_snapshot::limit_rows& limits, std::uint64_t cores, bool starts);
  void sort_jobs();
  void sort_into_classes();

  const queue_snapshot& from_;
  node_buckets nodes_;
  std::vector<running_count> counts_;
  std::vector<std::uint32_t> order_;    ///< position in the queue → row in `from_.jobs`
  std::vector<std::uint32_t> left_;     ///< units to start, by position
  std::vector<std::uint32_t> running_;  ///< by position
  std::vector<std::uint32_t> class_of_; ///< by position
  std::vector<job_class> classes_;
  std::vector<shape_memo> memos_;                           ///< by shape
  failed_needs failed_;                                     ///< in this pass
  std::set<std::pair<std::uint32_t, std::uint32_t>> heads_; ///< first position, class
  std::set<std::pair<instant, std::uint32_t>> arrivals_;    ///< begin times
  std::multimap<instant, running_unit> ends_;
  std::set<instant> closings_; ///< to come: advance reservations begin or end

  instant now_ = 0;
  std::uint64_t pass_ = 0, units_left_ = 0, visits_left_ = 0;
  std::uint32_t reserved_for_ = queue_snapshot::none; ///< position
  instant shadow_ = time_ends;
  std::vector<std::uint32_t> reserved_on_; ///< by node: for whom, position + 1
  std::optional<job_id> wanted_;
  bool done_ = false;
  bool was_looked_for_ = false; ///< what was tried last, on all nodes

  std::vector<task_share> offers_, chosen_;
  /// The first blocked job once all others wait behind it: what fits of it, as far as is counted.
  struct {
    std::uint32_t position = queue_snapshot::none, nodes = 0;
    std::uint64_t tasks = 0;
  } awaited_;
  std::uint64_t offered_tasks_ = 0;
  std::uint32_t offered_large_ = 0;
  std::vector<instant> starts_; ///< by position; `time_ends`: not yet
  std::size_t started_ = 0;     ///< of these
  std::optional<instant> start_of_wanted_;
};

} // namespace troupe::plan
