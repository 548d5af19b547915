// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/shepherd/peer_messages.hpp"
#include "tools/shepherd/relay.hpp"

#include <functional>
#include <set>

namespace troupe::shepherd {

enum class collective_kind : std::uint8_t {
  fence = 1,
  connect,
  disconnect,
  group_construct,
  group_destruct,
  barrier, ///< PMI-1's
};

/// Collectives among the shepherds of a job: every node gives one part and gets all parts.
///
/// The pattern is Bruck's (dissemination): in round r a node sends to the one 2^r before it all it
/// has, so after ⌈log2 n⌉ rounds everybody has everything, for any n, without a root. A payload
/// crosses agents and links on its way, so the number of hops in a row decides: ⌈log2 n⌉ against
/// twice that for gathering to a root and spreading from it; each node still receives every part
/// exactly once, so no algorithm moves fewer bytes.
class collectives {
public:
  /// All parts in the order of nodes; a status other than 0 is an error and has no parts.
  using finisher = std::function<void(std::int32_t status, const std::vector<contribution>& parts)>;

  struct world {
    std::function<void(std::uint32_t node, const peer_message&)> send;
    /// Nodes of all these, ascending; empty where one of them is not known here.
    std::function<std::vector<std::uint32_t>(const std::vector<process_name>&)> nodes_of;
    std::int32_t status_of_loss = 0; ///< what a collective ends with when a participant died
    std::int32_t status_of_unknown = 0;
    std::int32_t status_of_timeout = 0;
  };

  explicit collectives(world w) : world_{std::move(w)} {}
  void set_own_node(std::uint32_t node) { own_ = node; }

  struct wish {
    collective_kind kind = collective_kind::fence;
    std::vector<process_name> participants;
    std::string name; ///< tells apart what the same participants may do at once
    std::vector<std::uint8_t> data;
    steady::duration timeout{}; ///< 0: none
  };

  /// The participants of this node have come.
  void start(wish asked, finisher done);

  void take(std::uint32_t node, collective_part from);
  void take(std::uint32_t node, const collective_doubt& from);
  void take(std::uint32_t node, const collective_failed& from);

  /// A rank of `node` ended: whoever waits for that node's part asks it whether it will come.
  void rank_ended(const process_name& who, std::uint32_t node);
  void step_ended(const std::string& nspace);
  /// Nothing comes from this node any more.
  void node_lost(std::uint32_t node);

  std::size_t waiting() const { return running_.size(); }

  void tick(steady::time_point now);
  steady::time_point next_tick() const { return next_tick_; }

private:
  struct collective {
    bool started = false;
    bool failed = false;
    std::int32_t status = 0;
    std::vector<process_name> participants;
    std::vector<std::uint32_t> nodes;
    std::size_t own_place = 0; ///< in `nodes`
    std::size_t distance = 1;  ///< 2^round
    std::map<std::uint32_t, contribution> parts;
    steady::time_point until = steady::time_point::max();
    finisher done;
  };
  using table = std::map<collective_id, collective>;

  collective_id next_id(const wish& asked);
  bool is_over(const collective_id& id) const;
  void progress(table::iterator at);
  bool has_run(const collective& c, std::size_t length) const;
  void send_run(const collective_id& id, const collective& c, std::size_t length);
  void finish(table::iterator at);
  void fail_one(const collective_id& id, std::int32_t status);
  void time_out(const collective_id& id);
  void doubt(const collective_id& id, const collective& c, const process_name& who,
             std::uint32_t node);

  static constexpr std::size_t early_max = 4096;

  world world_;
  std::uint32_t own_ = 0;
  table running_;
  /// The next number for each kind and participants; all below have started here.
  std::map<std::pair<std::uint8_t, std::array<std::uint8_t, 16>>, std::uint64_t> next_;
  std::set<std::uint32_t> lost_nodes_;
  std::map<process_name, std::uint32_t> ended_; ///< ranks of other nodes, with their node
  steady::time_point next_tick_ = steady::time_point::max();
};

} // namespace troupe::shepherd
