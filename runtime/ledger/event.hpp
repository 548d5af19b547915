// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"
#include "base/clock.hpp"
#include "messages/fields.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe::ledger {

/// Element of an event that concerns the whole job.
inline constexpr std::uint32_t whole_job = 0xffffffff;

inline constexpr std::size_t payload_bytes_max = 8u << 20;
inline constexpr std::size_t events_per_append_max = 1u << 18;

/// What happened. The numbers are stored: they never change meaning.
enum class event_kind : std::uint8_t {
  submitted = 1,
  held = 2,
  released = 3,
  starting = 4,
  running = 5,
  ended = 6,
  requeued = 7,
  cancelled = 8,
  lost = 9,
  modified = 10,
  note = 11,
  node = 12,
  reservation = 13,
  preempted = 14,
  step_started = 20,
  step_ended = 21,
};

/// The kind's word; "unknown" for a number that is none.
const char* to_string(event_kind kind);

/// Names a request for ever: a second submission with the same id is refused.
using request_id = std::array<std::uint8_t, 16>;

/// Makes the job's row.
struct submission {
  std::uint32_t uid = 0;
  std::string name;
  std::optional<request_id> request;
  std::uint32_t elements_total = 1;

  static constexpr auto fields() {
    using s = submission;
    return field_list(field<1>("uid", &s::uid), field<2>("name", &s::name),
                      field<3>("request", &s::request),
                      field<4>("elements_total", &s::elements_total));
  }
};

/// Makes (or replaces) the row of an element of an array that ended, under the event's element and
/// incarnation.
struct element_end {
  std::uint8_t state = 0;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  utc_ns started_ns = 0; ///< 0: never started
  utc_ns ended_ns = 0;   ///< 0: the event's own time
  std::string node;

  static constexpr auto fields() {
    using s = element_end;
    return field_list(field<1>("state", &s::state), field<2>("exit_code", &s::exit_code),
                      field<3>("signal", &s::signal), field<4>("started_ns", &s::started_ns),
                      field<5>("ended_ns", &s::ended_ns), field<6>("node", &s::node));
  }
};

/// When a start had been expected; makes a row of the table of promises.
struct start_promise {
  utc_ns first_ns = 0; ///< as it was first told
  utc_ns last_ns = 0;  ///< as it was last told

  static constexpr auto fields() {
    using s = start_promise;
    return field_list(field<1>("first_ns", &s::first_ns), field<2>("last_ns", &s::last_ns));
  }
};

/// What an event changes in the tables. It is stored beside the payload, so that the tables can be
/// rebuilt without anyone parsing payloads. What is not set stays as it is. States are the caller's
/// numbers.
struct summary {
  std::optional<submission> submitted;
  std::optional<std::uint8_t> state;
  bool starts = false;   ///< sets the job's start, if it has none
  bool requeues = false; ///< takes start, exit code and signal away; not with `ends`
  bool ends = false;     ///< sets the job's end: it is unfinished no longer
  utc_ns started_ns = 0; ///< with `starts`; 0: the event's own time
  utc_ns ended_ns = 0;   ///< with `ends`; 0: the event's own time
  std::optional<std::int32_t> exit_code;
  std::optional<std::int32_t> signal;
  std::uint32_t elements_done = 0;   ///< added to the job's count
  std::uint32_t elements_failed = 0; ///< added to the job's count
  std::optional<std::string> reason;
  std::optional<element_end> element;
  /// The job's name from now on: this event's payload takes the place of the submission's.
  std::optional<std::string> resubmits;
  std::optional<start_promise> promised; ///< of a start that had been expected

  static constexpr auto fields() {
    using s = summary;
    return field_list(field<1>("submitted", &s::submitted), field<2>("state", &s::state),
                      field<3>("starts", &s::starts), field<4>("requeues", &s::requeues),
                      field<5>("ends", &s::ends), field<6>("started_ns", &s::started_ns),
                      field<7>("ended_ns", &s::ended_ns), field<8>("exit_code", &s::exit_code),
                      field<9>("signal", &s::signal), field<10>("elements_done", &s::elements_done),
                      field<11>("elements_failed", &s::elements_failed),
                      field<12>("reason", &s::reason), field<13>("element", &s::element),
                      field<14>("resubmits", &s::resubmits), field<15>("promised", &s::promised));
  }
};

/// One event to append. The ledger stamps its sequence number and time.
struct event {
  std::uint64_t job = 0; ///< 0: of no job (a node's event)
  std::uint32_t element = whole_job;
  std::uint32_t incarnation = 0;
  event_kind kind = event_kind::note;
  std::uint8_t version = 1; ///< of the payload's encoding
  std::vector<std::uint8_t> payload;
  std::optional<summary> change;
};

/// An event as it is stored; the payload is valid during the visit only.
struct stored_event {
  std::uint64_t seq = 0;
  utc_ns time = 0;
  std::uint64_t job = 0;
  std::uint32_t element = whole_job;
  std::uint32_t incarnation = 0;
  event_kind kind = event_kind::note;
  std::uint8_t version = 1;
  byte_view payload;
};

/// A row of the table of jobs. Times are 0 and codes empty where they do not apply (yet).
struct job_row {
  std::uint64_t job = 0;
  std::uint32_t uid = 0;
  std::string name;
  std::uint8_t state = 0;
  utc_ns submitted_ns = 0;
  utc_ns started_ns = 0;
  utc_ns ended_ns = 0;
  std::optional<request_id> request;
  std::optional<std::int32_t> exit_code;
  std::optional<std::int32_t> signal;
  std::uint32_t elements_total = 1;
  std::uint32_t elements_done = 0;
  std::uint32_t elements_failed = 0;
  std::string reason;
  std::uint64_t submit_seq = 0;

  bool operator==(const job_row&) const = default;
};

/// A row of the table of promised starts, with what the job's row has of it.
struct promise_row {
  std::uint64_t seq = 0; ///< of the start
  std::uint64_t job = 0;
  std::uint32_t uid = 0;
  std::string name;
  utc_ns submitted_ns = 0;
  utc_ns started_ns = 0;
  start_promise promised;
};

/// A row of the table of ended elements.
struct element_row {
  std::uint32_t element = 0;
  std::uint32_t incarnation = 0;
  std::uint8_t state = 0;
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  utc_ns started_ns = 0;
  utc_ns ended_ns = 0;
  std::string node;

  bool operator==(const element_row&) const = default;
};

} // namespace troupe::ledger
