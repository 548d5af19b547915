// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/scheduling.hpp"
#include "messages/shepherd.hpp"

// What the ledger's events carry, by kind. A job's whole story is `submitted` and what follows it.

namespace troupe {

/// Who a job runs as; resolved once, by the authority's side, when the warrant is made.
struct job_identity {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::vector<std::uint32_t> groups;
  std::string user;
  std::string home;
  std::string shell;

  bool operator==(const job_identity&) const = default;
  static constexpr auto fields() {
    using s = job_identity;
    return field_list(field<1>("uid", &s::uid), field<2>("gid", &s::gid),
                      field<3>("groups", &s::groups, at_most(1024)), field<4>("user", &s::user),
                      field<5>("home", &s::home), field<6>("shell", &s::shell));
  }
};

/// kind submitted: what was asked, by whom, and the authority's word that it was.
struct submitted_event {
  job_spec spec;
  job_identity identity;
  std::vector<std::uint8_t> warrant;
  std::vector<std::uint8_t> warrant_seal;

  static constexpr auto fields() {
    using s = submitted_event;
    return field_list(field<1>("spec", &s::spec), field<2>("identity", &s::identity),
                      field<3>("warrant", &s::warrant), field<4>("warrant_seal", &s::warrant_seal));
  }
};

/// kind starting: elements [first, last] of this incarnation may start from now on, at these
/// places.
struct starting_event {
  std::uint32_t element_first = no_element;
  std::uint32_t element_last = no_element;
  /// How many of them run at once on one node; `parts` then are its slots (no ranks: a hole).
  /// 0: one element on several nodes, `parts` are its own.
  std::uint32_t window = 1;
  std::vector<placement_part> parts;
  std::vector<std::vector<std::uint8_t>> instances; ///< the launcher's, per part; one for a window
  /// Without a window: what the launchers call each part's place, by part.
  std::vector<std::uint32_t> slots;
  /// When the job had been expected to start; of its first start alone, 0 if it never waited.
  utc_ns first_promised_utc_ns = 0;
  utc_ns last_promised_utc_ns = 0;

  static constexpr auto fields() {
    using s = starting_event;
    return field_list(field<1>("element_first", &s::element_first),
                      field<2>("element_last", &s::element_last), field<3>("window", &s::window),
                      field<4>("parts", &s::parts, at_most(nodes_max)),
                      field<5>("instances", &s::instances, at_most(nodes_max)),
                      field<6>("slots", &s::slots, at_most(nodes_max)),
                      field<7>("first_promised_utc_ns", &s::first_promised_utc_ns),
                      field<8>("last_promised_utc_ns", &s::last_promised_utc_ns));
  }
};

/// The first place that the event gives: a window's slots may begin with holes. None: it gives
/// none.
inline const placement_part* first_place(const starting_event& event) {
  for (const auto& part : event.parts)
    if (part.ranks > 0)
      return &part;
  return nullptr;
}

/// kind ended: one element's end (or the job's, for cancelled and rejected ones that never ran).
struct ended_event {
  exit_report exit;
  utc_ns started_utc_ns = 0;
  utc_ns ended_utc_ns = 0;
  std::string nodelist;
  std::uint64_t user_us = 0;
  std::uint64_t system_us = 0;
  std::uint64_t max_rss_bytes = 0;
  std::uint32_t cores = 0; ///< that it had, for fair share
  std::string user;
  std::string account;
  std::uint32_t time_limit_s =
      0; ///< that it had; with how long it ran, what its user's jobs are like

  static constexpr auto fields() {
    using s = ended_event;
    return field_list(field<1>("exit", &s::exit), field<2>("started_utc_ns", &s::started_utc_ns),
                      field<3>("ended_utc_ns", &s::ended_utc_ns),
                      field<4>("nodelist", &s::nodelist), field<5>("user_us", &s::user_us),
                      field<6>("system_us", &s::system_us),
                      field<7>("max_rss_bytes", &s::max_rss_bytes), field<8>("cores", &s::cores),
                      field<9>("user", &s::user), field<10>("account", &s::account),
                      field<11>("time_limit_s", &s::time_limit_s));
  }
};

/// kind step_started: a step of a running element may start from now on, at these places.
struct step_started_event {
  std::uint32_t step = 0;
  submitted_event asked; ///< its spec, as whom, and the step's own warrant
  /// As long as the element's own parts, in their order; without ranks where it has none.
  std::vector<placement_part> parts;
  std::string parent_nspace; ///< of a step that a rank spawned: who, and how it names its request
  std::uint32_t parent_rank = 0;
  std::uint32_t spawn_node = 0;
  std::uint64_t spawn_request = 0;
  std::uint32_t root_step = 0;          ///< where the spawning began
  std::uint32_t keeper = 0;             ///< index of the part that keeps what the family publishes
  std::vector<shepherd::step_app> apps; ///< of a spawn of several programs: each with its ranks

  static constexpr auto fields() {
    using s = step_started_event;
    return field_list(
        field<1>("step", &s::step), field<2>("asked", &s::asked),
        field<3>("parts", &s::parts, at_most(nodes_max)),
        field<4>("parent_nspace", &s::parent_nspace), field<5>("parent_rank", &s::parent_rank),
        field<6>("spawn_node", &s::spawn_node), field<7>("spawn_request", &s::spawn_request),
        field<8>("root_step", &s::root_step), field<9>("keeper", &s::keeper),
        field<10>("apps", &s::apps, visibility::owner, at_most(shepherd::apps_max)));
  }
};

/// kind step_ended: a step's end.
struct step_ended_event {
  std::uint32_t step = 0;
  exit_report exit;
  utc_ns started_utc_ns = 0;
  utc_ns ended_utc_ns = 0;

  static constexpr auto fields() {
    using s = step_ended_event;
    return field_list(field<1>("step", &s::step), field<2>("exit", &s::exit),
                      field<3>("started_utc_ns", &s::started_utc_ns),
                      field<4>("ended_utc_ns", &s::ended_utc_ns));
  }
};

inline constexpr std::size_t cancelled_ranges_max = 4096;

/// kind cancelled: elements that will not start, and placed ones that are to end; without either
/// the whole job.
struct cancelled_event {
  std::uint32_t by_uid = 0;
  std::vector<number_range> elements;
  std::string reason;
  std::vector<number_range> placed; ///< their ends come by themselves

  static constexpr auto fields() {
    using s = cancelled_event;
    return field_list(field<1>("by_uid", &s::by_uid),
                      field<2>("elements", &s::elements, at_most(cancelled_ranges_max)),
                      field<3>("reason", &s::reason),
                      field<4>("placed", &s::placed, at_most(cancelled_ranges_max)));
  }
};

/// kind requeued: elements [first, last] are pending again, in the next incarnation.
struct requeued_event {
  std::uint32_t element_first = no_element;
  std::uint32_t element_last = no_element;
  std::string reason;

  static constexpr auto fields() {
    using s = requeued_event;
    return field_list(field<1>("element_first", &s::element_first),
                      field<2>("element_last", &s::element_last), field<3>("reason", &s::reason));
  }
};

/// A node drained or resumed by an administrator; stored under job 0.
struct node_event {
  std::string node;
  node_state state = node_state::up;
  std::string reason;
  std::uint32_t by_uid = 0;

  static constexpr auto fields() {
    using s = node_event;
    return field_list(field<1>("node", &s::node), field<2>("state", &s::state),
                      field<3>("reason", &s::reason), field<4>("by_uid", &s::by_uid));
  }
};

/// kind reservation: made, or given up, by an operator; stored under job 0.
struct reservation_event {
  reservation_row what;
  bool dropped = false;
  std::uint32_t by_uid = 0;

  static constexpr auto fields() {
    using s = reservation_event;
    return field_list(field<1>("what", &s::what), field<2>("dropped", &s::dropped),
                      field<3>("by_uid", &s::by_uid));
  }
};

} // namespace troupe
