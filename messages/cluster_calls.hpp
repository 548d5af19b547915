// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/scheduling.hpp"

#include <string_view>
#include <vector>

// The methods of every other interface; see messages/calls.hpp.

namespace troupe::calls {

// == org.troupe.nodes ============================================================================

struct node_rows_reply {
  std::vector<node_row> nodes;
  static constexpr auto fields() { return field_list(field<1>("nodes", &node_rows_reply::nodes)); }
};

/// The nodes and what of them is in use.
struct nodes {
  static constexpr std::string_view method = "org.troupe.nodes.List";
  static constexpr auto fields() { return field_list(); }
  using reply = node_rows_reply;
};

/// Lets nothing more start on nodes.
struct drain {
  static constexpr std::string_view method = "org.troupe.nodes.Drain";
  std::vector<std::string> nodes;
  std::string reason;
  static constexpr auto fields() {
    return field_list(field<1>("nodes", &drain::nodes, at_most(1024)),
                      field<2>("reason", &drain::reason, at_most(1024)));
  }
  using reply = node_rows_reply;
};

/// Takes drained nodes into use again.
struct resume {
  static constexpr std::string_view method = "org.troupe.nodes.Resume";
  std::vector<std::string> nodes;
  static constexpr auto fields() {
    return field_list(field<1>("nodes", &resume::nodes, at_most(1024)));
  }
  using reply = node_rows_reply;
};

// == org.troupe.queues ===========================================================================

/// The queues and what is in them.
struct queues {
  static constexpr std::string_view method = "org.troupe.queues.List";
  static constexpr auto fields() { return field_list(); }
  struct reply {
    std::vector<queue_row> queues;
    static constexpr auto fields() { return field_list(field<1>("queues", &reply::queues)); }
  };
};

struct reservations_reply {
  std::vector<reservation_row> reservations;
  static constexpr auto fields() {
    return field_list(field<1>("reservations", &reservations_reply::reservations));
  }
};

/// The reservations that have not ended.
struct reservations {
  static constexpr std::string_view method = "org.troupe.queues.Reservations";
  static constexpr auto fields() { return field_list(); }
  using reply = reservations_reply;
};

/// Keeps nodes for some jobs for a time.
struct reserve {
  static constexpr std::string_view method = "org.troupe.queues.Reserve";
  reservation_row reservation;
  static constexpr auto fields() {
    return field_list(field<1>("reservation", &reserve::reservation));
  }
  using reply = reservations_reply;
};

/// Gives a reservation up.
struct unreserve {
  static constexpr std::string_view method = "org.troupe.queues.Unreserve";
  std::string name;
  static constexpr auto fields() {
    return field_list(field<1>("name", &unreserve::name, at_most(name_bytes_max)));
  }
  using reply = reservations_reply;
};

// == org.troupe.config ===========================================================================

struct config_reply {
  std::string path;
  std::string text;
  static constexpr auto fields() {
    return field_list(field<1>("path", &config_reply::path), field<2>("text", &config_reply::text));
  }
};

/// The configuration in force.
struct config_show {
  static constexpr std::string_view method = "org.troupe.config.Show";
  static constexpr auto fields() { return field_list(); }
  using reply = config_reply;
};

/// Reads the configuration's file again: all of it is in force then, or nothing has changed.
struct config_reload {
  static constexpr std::string_view method = "org.troupe.config.Reload";
  static constexpr auto fields() { return field_list(); }
  using reply = config_reply;
};

// == org.troupe.cluster ==========================================================================

/// The cluster in a few numbers. Needs no session.
struct summary {
  static constexpr std::string_view method = "org.troupe.cluster.Summary";
  static constexpr auto fields() { return field_list(); }
  struct reply {
    std::string name;
    std::string version;
    std::string state; ///< "starting", "ready", "stopping"
    std::uint32_t pid = 0;
    std::uint32_t nodes = 0;
    std::uint32_t cores = 0;
    std::uint64_t pending = 0;
    std::uint64_t running = 0;
    bool oversubscribed = false;
    static constexpr auto fields() {
      using s = reply;
      return field_list(field<1>("name", &s::name), field<2>("version", &s::version),
                        field<3>("state", &s::state), field<4>("pid", &s::pid),
                        field<5>("nodes", &s::nodes), field<6>("cores", &s::cores),
                        field<7>("pending", &s::pending), field<8>("running", &s::running),
                        field<9>("oversubscribed", &s::oversubscribed));
    }
  };
};

/// Stops the cluster. What runs is ended first, which takes as long as grace times need, or goes on
/// under the launcher and is found again. Answers at once what runs now.
struct stop {
  static constexpr std::string_view method = "org.troupe.cluster.Stop";
  bool keep_running = false;
  static constexpr auto fields() {
    return field_list(field<1>("keep_running", &stop::keep_running));
  }
  struct reply {
    std::vector<job_row> running;
    std::uint64_t pending = 0;
    std::uint64_t running_count = 0; ///< `running` holds the first 1,000
    static constexpr auto fields() {
      return field_list(field<1>("running", &reply::running), field<2>("pending", &reply::pending),
                        field<3>("running_count", &reply::running_count));
    }
  };
};

// == org.troupe.ledger ===========================================================================

/// Reads all of the ledger and says what is wrong with it.
struct ledger_check {
  static constexpr std::string_view method = "org.troupe.ledger.Check";
  static constexpr auto fields() { return field_list(); }
  struct reply {
    bool good = false;
    std::uint64_t events = 0;
    std::uint64_t jobs = 0;
    std::uint64_t unfinished = 0;
    std::uint64_t highest_job = 0;
    std::vector<std::string> problems;
    static constexpr auto fields() {
      using s = reply;
      return field_list(field<1>("good", &s::good), field<2>("events", &s::events),
                        field<3>("jobs", &s::jobs), field<4>("unfinished", &s::unfinished),
                        field<5>("highest_job", &s::highest_job),
                        field<6>("problems", &s::problems));
    }
  };
};

/// Copies the ledger to a new file, as it is at one moment.
struct ledger_backup {
  static constexpr std::string_view method = "org.troupe.ledger.Backup";
  std::string path; ///< from the root on
  static constexpr auto fields() {
    return field_list(field<1>("path", &ledger_backup::path, at_most(4096)));
  }
  struct reply {
    std::string path;
    std::uint64_t bytes = 0;
    std::uint64_t highest_job = 0;
    static constexpr auto fields() {
      using s = reply;
      return field_list(field<1>("path", &s::path), field<2>("bytes", &s::bytes),
                        field<3>("highest_job", &s::highest_job));
    }
  };
};

/// What a rebuild kept; said by a trouped that serves nobody, no method asks for it.
struct ledger_rebuilt {
  std::uint64_t events = 0;
  std::uint64_t jobs = 0;
  std::uint64_t highest_job = 0;
  std::string former; ///< where the ledger that was there is now
  std::vector<std::string> problems;
  static constexpr auto fields() {
    using s = ledger_rebuilt;
    return field_list(field<1>("events", &s::events), field<2>("jobs", &s::jobs),
                      field<3>("highest_job", &s::highest_job), field<4>("former", &s::former),
                      field<5>("problems", &s::problems));
  }
};

// == org.troupe.console ==========================================================================

/// Every actor with its counters.
struct actors {
  static constexpr std::string_view method = "org.troupe.console.Actors";
  static constexpr auto fields() { return field_list(); }
  struct reply {
    std::vector<actor_row> actors;
    static constexpr auto fields() { return field_list(field<1>("actors", &reply::actors)); }
  };
};

/// One actor's own words; by number or name.
struct actor_status {
  static constexpr std::string_view method = "org.troupe.console.Status";
  std::string actor;
  status_verbosity verbosity = status_verbosity::detailed;
  static constexpr auto fields() {
    return field_list(field<1>("actor", &actor_status::actor, at_most(name_bytes_max)),
                      field<2>("verbosity", &actor_status::verbosity));
  }
  struct reply {
    status_report status;
    static constexpr auto fields() { return field_list(field<1>("status", &reply::status)); }
  };
};

// == org.troupe.audit ============================================================================

/// The last lines of the audit chain.
struct audit_tail {
  static constexpr std::string_view method = "org.troupe.audit.Tail";
  std::uint32_t lines = 20;
  static constexpr auto fields() {
    return field_list(field<1>("lines", &audit_tail::lines, at_most(10'000)));
  }
  struct reply {
    std::vector<std::string> lines;
    static constexpr auto fields() { return field_list(field<1>("lines", &reply::lines)); }
  };
};

/// Is the audit chain whole?
struct audit_verify {
  static constexpr std::string_view method = "org.troupe.audit.Verify";
  static constexpr auto fields() { return field_list(); }
  struct reply {
    bool whole = false;
    std::uint64_t records = 0;
    std::uint64_t broken_record = 0;
    std::string sentence;
    static constexpr auto fields() {
      using s = reply;
      return field_list(field<1>("whole", &s::whole), field<2>("records", &s::records),
                        field<3>("broken_record", &s::broken_record),
                        field<4>("sentence", &s::sentence));
    }
  };
};

} // namespace troupe::calls
