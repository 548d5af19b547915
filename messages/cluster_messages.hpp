// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/common_messages.hpp"
#include "messages/types.hpp"

#include <string>
#include <vector>

// The cluster as a whole: stopped, summed up, its ledger looked after.

namespace troupe {

/// Nothing starts any more, because the cluster is about to stop; or, `on` false, things do again.
/// No answer.
struct pause_starts {
  bool on = true;
  using answer = void;
};

/// Ends what runs of the jobs behind `after`, of some of them at a time: asked again from `next` on
/// until that is 0, and from the start until nothing is left.
struct running_ending;
struct end_running {
  job_id after = 0;
  std::uint32_t by_uid = 0;
  std::string reason;
  using answer = running_ending;
};
struct running_ending {
  job_id next = 0;              ///< where to go on; 0: all have been asked
  std::uint64_t running = 0;    ///< elements of which something runs, or may
  std::uint64_t unrecorded = 0; ///< that are over, but their end is not on the disk yet
  using answer_tag = void;
};

/// Ends the cluster; with `end_jobs` what runs is ended first, else it goes on under the launcher.
struct cluster_stopping;
struct stop_cluster {
  bool end_jobs = true;
  using answer = cluster_stopping;
};
struct cluster_stopping {
  std::vector<job_row> running;    ///< the first of them
  std::uint64_t running_count = 0; ///< all of them
  std::uint64_t pending = 0;
  using answer_tag = void;
};

/// Reads all of the ledger. Answers what is in it, and what is wrong with it.
struct ledger_checked;
struct check_ledger {
  using answer = ledger_checked;
};
struct ledger_checked {
  std::uint64_t events = 0;
  std::uint64_t jobs = 0;
  std::uint64_t unfinished = 0;
  job_id highest_job = 0;
  std::vector<std::string> problems; ///< none: it is whole
  using answer_tag = void;
};

/// Copies the ledger to a new file, as it is at one moment. Answers when it is on the disk.
struct ledger_copied;
struct backup_ledger {
  std::string path; ///< from the root on
  using answer = ledger_copied;
};
struct ledger_copied {
  std::uint64_t bytes = 0;
  job_id highest_job = 0;
  using answer_tag = void;
};

/// Asks for the cluster's own summary.
struct cluster_summary;
struct get_summary {
  using answer = cluster_summary;
};
struct cluster_summary {
  std::string name;
  std::string version;
  std::string state;
  std::uint32_t pid = 0;
  utc_ns started_utc_ns = 0;
  std::uint32_t nodes = 0;
  std::uint32_t cores = 0;
  std::uint64_t pending = 0;
  std::uint64_t running = 0;
  bool oversubscribed = false;
  using answer_tag = void;
  static constexpr auto fields() {
    using s = cluster_summary;
    return field_list(field<1>("name", &s::name), field<2>("version", &s::version),
                      field<3>("state", &s::state), field<4>("pid", &s::pid),
                      field<5>("started_utc_ns", &s::started_utc_ns), field<6>("nodes", &s::nodes),
                      field<7>("cores", &s::cores), field<8>("pending", &s::pending),
                      field<9>("running", &s::running),
                      field<10>("oversubscribed", &s::oversubscribed));
  }
};

} // namespace troupe
