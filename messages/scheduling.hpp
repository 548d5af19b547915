// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

// Values about when and where jobs start: queues, reservations, changes of waiting jobs, forecasts
// and how good they were.

namespace troupe {

/// One row of `troupe queues`: what the configuration says of a queue, and what is in it.
struct queue_row {
  static constexpr std::string_view type_name = "QueueRow";
  std::string name;
  bool is_default = false;
  std::int32_t priority = 0;
  std::uint32_t time_default_s = 0; ///< of jobs that name none; 0: none
  std::uint32_t time_max_s = 0;     ///< 0: no limit, as in those below
  std::uint32_t jobs_max = 0;       ///< unfinished jobs in the queue
  std::uint32_t running_max = 0;    ///< at once
  std::uint32_t cores_max = 0;      ///< in use at once
  std::uint32_t user_jobs_max = 0;  ///< the same for one user's jobs
  std::uint32_t user_running_max = 0;
  std::uint32_t user_cores_max = 0; ///< that one user's jobs use at once
  std::vector<std::string> users;   ///< who may use it; with `groups` empty: everyone
  std::vector<std::string> groups;
  std::vector<std::string> preempts; ///< queues whose jobs may be ended for this one's
  std::uint32_t grace_s = 0;         ///< that its jobs get when they are
  std::uint64_t pending = 0;
  std::uint64_t running = 0;

  static constexpr auto fields() {
    using s = queue_row;
    return field_list(
        field<1>("name", &s::name), field<2>("is_default", &s::is_default),
        field<3>("priority", &s::priority), field<4>("time_default_s", &s::time_default_s),
        field<5>("time_max_s", &s::time_max_s), field<6>("jobs_max", &s::jobs_max),
        field<7>("running_max", &s::running_max), field<8>("cores_max", &s::cores_max),
        field<9>("user_jobs_max", &s::user_jobs_max),
        field<10>("user_running_max", &s::user_running_max),
        field<11>("user_cores_max", &s::user_cores_max), field<12>("users", &s::users),
        field<13>("groups", &s::groups), field<14>("preempts", &s::preempts),
        field<15>("grace_s", &s::grace_s), field<16>("pending", &s::pending),
        field<17>("running", &s::running));
  }
};

/// Nodes that are kept for some users' jobs from one time to another.
struct reservation_row {
  static constexpr std::string_view type_name = "ReservationRow";
  std::string name;
  utc_ns start_utc_ns = 0;
  utc_ns end_utc_ns = 0;
  std::vector<std::string> nodes;
  std::vector<std::string> users; ///< with `accounts` empty: every job that names it
  std::vector<std::string> accounts;
  std::string reason;

  bool operator==(const reservation_row&) const = default;
  static constexpr auto fields() {
    using s = reservation_row;
    return field_list(
        field<1>("name", &s::name, at_most(name_bytes_max)),
        field<2>("start_utc_ns", &s::start_utc_ns), field<3>("end_utc_ns", &s::end_utc_ns),
        field<4>("nodes", &s::nodes, at_most(1024), each_at_most(name_bytes_max)),
        field<5>("users", &s::users, at_most(1024), each_at_most(name_bytes_max)),
        field<6>("accounts", &s::accounts, at_most(1024), each_at_most(name_bytes_max)),
        field<7>("reason", &s::reason, at_most(1024)));
  }
};

/// What `troupe modify` changes of a job; what is not there stays as it is.
struct job_changes {
  static constexpr std::string_view type_name = "JobChanges";
  std::optional<std::string> name;
  std::optional<std::string> account;
  std::optional<std::string> queue;
  std::optional<std::uint32_t> nodes;
  std::optional<std::uint32_t> tasks;
  std::optional<std::uint32_t> cores_per_task;
  std::optional<std::uint32_t> gpus_per_task;
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint32_t> time_limit_s; ///< 0: none
  std::optional<utc_ns> begin_utc_ns;
  std::optional<std::int32_t> nice;
  std::optional<std::string> reservation; ///< "": none

  bool operator==(const job_changes&) const = default;
  static constexpr auto fields() {
    using s = job_changes;
    return field_list(
        field<1>("name", &s::name, at_most(name_bytes_max)),
        field<2>("account", &s::account, at_most(name_bytes_max)),
        field<3>("queue", &s::queue, at_most(name_bytes_max)), field<4>("nodes", &s::nodes),
        field<5>("tasks", &s::tasks), field<6>("cores_per_task", &s::cores_per_task),
        field<7>("gpus_per_task", &s::gpus_per_task), field<8>("memory_bytes", &s::memory_bytes),
        field<9>("time_limit_s", &s::time_limit_s), field<10>("begin_utc_ns", &s::begin_utc_ns),
        field<11>("nice", &s::nice),
        field<12>("reservation", &s::reservation, at_most(name_bytes_max)));
  }
};

/// When and where a job would start if it were submitted now.
struct start_forecast {
  static constexpr std::string_view type_name = "StartForecast";
  using answer_tag = void;
  std::string sentence;
  utc_ns expected_start_utc_ns = 0; ///< 0: cannot be told
  std::vector<std::string> nodes;

  static constexpr auto fields() {
    using s = start_forecast;
    return field_list(field<1>("sentence", &s::sentence),
                      field<3>("expected_start_utc_ns", &s::expected_start_utc_ns),
                      field<4>("nodes", &s::nodes));
  }
};

/// When a started job had been expected to start, first and last, and when it did.
struct estimate_row {
  static constexpr std::string_view type_name = "EstimateRow";
  job_id job = 0;
  std::string name;
  std::string user;
  utc_ns submitted_utc_ns = 0;
  utc_ns first_promised_utc_ns = 0;
  utc_ns last_promised_utc_ns = 0;
  utc_ns started_utc_ns = 0;

  static constexpr auto fields() {
    using s = estimate_row;
    return field_list(field<1>("job", &s::job), field<2>("name", &s::name),
                      field<3>("user", &s::user),
                      field<4>("submitted_utc_ns", &s::submitted_utc_ns),
                      field<5>("first_promised_utc_ns", &s::first_promised_utc_ns),
                      field<6>("last_promised_utc_ns", &s::last_promised_utc_ns),
                      field<7>("started_utc_ns", &s::started_utc_ns));
  }
};

/// How good promises were: started − promised, over all jobs that had one.
struct estimate_summary {
  static constexpr std::string_view type_name = "EstimateSummary";
  std::uint64_t jobs = 0;
  std::uint64_t late = 0; ///< started later than first promised
  double first_error_mean_s = 0;
  double first_error_abs_median_s = 0;
  double first_error_max_s = 0;
  double last_error_abs_median_s = 0;

  static constexpr auto fields() {
    using s = estimate_summary;
    return field_list(field<1>("jobs", &s::jobs), field<2>("late", &s::late),
                      field<3>("first_error_mean_s", &s::first_error_mean_s),
                      field<4>("first_error_abs_median_s", &s::first_error_abs_median_s),
                      field<5>("first_error_max_s", &s::first_error_max_s),
                      field<6>("last_error_abs_median_s", &s::last_error_abs_median_s));
  }
};

} // namespace troupe
