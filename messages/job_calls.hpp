// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/scheduling.hpp"

#include <string_view>
#include <vector>

// The methods of org.troupe.session and org.troupe.jobs; see messages/calls.hpp.

namespace troupe::calls {

// == org.troupe.session ==========================================================================

/// Opens a session: the peer names the key that will hold its capability and the mechanisms it
/// knows. The server reads who the peer is from the kernel and answers a capability for that key.
struct hello {
  static constexpr std::string_view method = "org.troupe.session.Hello";
  fixed_bytes<32> holder{};
  fixed_bytes<32> nonce{};
  std::vector<std::string> mechanisms; ///< most preferred first; empty: "native"
  std::string role;                    ///< "" is the highest the peer may have
  bool brings_capability = false;      ///< it will present one that it has: it is given none
  static constexpr auto fields() {
    using s = hello;
    return field_list(field<1>("holder", &s::holder), field<2>("nonce", &s::nonce),
                      field<3>("mechanisms", &s::mechanisms, at_most(16)),
                      field<4>("role", &s::role, at_most(32)),
                      field<5>("brings_capability", &s::brings_capability));
  }
  struct reply {
    std::string cluster;
    fixed_bytes<16> cluster_id{};
    std::string version;
    std::string mechanism;
    std::string role;
    fixed_bytes<32> nonce{};
    fixed_bytes<16> audience{};
    std::vector<std::uint8_t> capability;
    utc_ns time_utc_ns = 0; ///< the server's wall clock: what the peer signs is judged by it
    static constexpr auto fields() {
      using s = reply;
      return field_list(field<1>("cluster", &s::cluster), field<2>("cluster_id", &s::cluster_id),
                        field<3>("version", &s::version), field<4>("mechanism", &s::mechanism),
                        field<5>("role", &s::role), field<6>("nonce", &s::nonce),
                        field<7>("audience", &s::audience), field<8>("capability", &s::capability),
                        field<9>("time_utc_ns", &s::time_utc_ns));
    }
  };
};

/// Presents a capability (and a delegation of it) with the proof that the peer holds its key. Every
/// later call of the connection is made under it.
struct present {
  static constexpr std::string_view method = "org.troupe.session.Present";
  std::vector<std::vector<std::uint8_t>> chain;
  std::vector<std::uint8_t> proof;
  static constexpr auto fields() {
    return field_list(field<1>("chain", &present::chain, at_most(2)),
                      field<2>("proof", &present::proof, at_most(64)));
  }
  struct reply {
    std::uint32_t uid = 0;
    std::string role;
    utc_ns expires_utc_ns = 0;
    static constexpr auto fields() {
      return field_list(field<1>("uid", &reply::uid), field<2>("role", &reply::role),
                        field<3>("expires_utc_ns", &reply::expires_utc_ns));
    }
  };
};

/// The keys that sign capabilities, warrants and orders.
struct keys {
  static constexpr std::string_view method = "org.troupe.session.Keys";
  static constexpr auto fields() { return field_list(); }
  struct reply {
    std::uint32_t version = 0;
    std::vector<key_row> keys;
    static constexpr auto fields() {
      return field_list(field<1>("version", &reply::version), field<2>("keys", &reply::keys));
    }
  };
};

/// Ends capabilities before their time.
struct revoke {
  static constexpr std::string_view method = "org.troupe.session.Revoke";
  std::string serial;
  std::optional<std::uint32_t> uid;
  std::optional<job_id> job;
  static constexpr auto fields() {
    return field_list(field<1>("serial", &revoke::serial, at_most(32)),
                      field<2>("uid", &revoke::uid), field<3>("job", &revoke::job));
  }
  struct reply {
    std::uint64_t epoch = 0;
    static constexpr auto fields() { return field_list(field<1>("epoch", &reply::epoch)); }
  };
};

// == org.troupe.jobs =============================================================================

/// What went wrong with one of several things.
struct failure {
  static constexpr std::string_view type_name = "Failure";
  std::string code;
  std::string message;
  static constexpr auto fields() {
    return field_list(field<1>("code", &failure::code), field<2>("message", &failure::message));
  }
};

/// Submits jobs. Each needs a request that the holder signed; without `requests` the connection
/// itself is the holder. The answer comes when all are durable.
struct submit {
  static constexpr std::string_view method = "org.troupe.jobs.Submit";
  std::vector<job_spec> jobs;
  std::vector<signed_request> requests;
  bool check_only = false; ///< say when and where it would start; change nothing
  static constexpr auto fields() {
    return field_list(field<1>("jobs", &submit::jobs, at_most(submissions_per_call_max)),
                      field<2>("requests", &submit::requests, at_most(submissions_per_call_max)),
                      field<3>("check_only", &submit::check_only));
  }
  struct result {
    job_id job = 0; ///< 0: refused, see `error`
    std::optional<failure> error;
    std::optional<start_forecast> forecast; ///< with check_only
    static constexpr auto fields() {
      return field_list(field<1>("job", &result::job), field<2>("error", &result::error),
                        field<3>("forecast", &result::forecast));
    }
  };
  struct reply {
    std::vector<result> jobs;
    static constexpr auto fields() { return field_list(field<1>("jobs", &reply::jobs)); }
  };
};

/// What a change of several jobs did.
struct change_reply {
  std::uint64_t jobs = 0;
  std::uint64_t elements = 0;
  std::vector<failure> refused;
  static constexpr auto fields() {
    using s = change_reply;
    return field_list(field<1>("jobs", &s::jobs), field<2>("elements", &s::elements),
                      field<3>("refused", &s::refused));
  }
};

/// Ends jobs or elements; answers when that is durable.
struct cancel {
  static constexpr std::string_view method = "org.troupe.jobs.Cancel";
  job_selector selector;
  std::string reason;
  static constexpr auto fields() {
    return field_list(field<1>("selector", &cancel::selector),
                      field<2>("reason", &cancel::reason, at_most(1024)));
  }
  using reply = change_reply;
};

/// Keeps pending jobs from starting.
struct hold {
  static constexpr std::string_view method = "org.troupe.jobs.Hold";
  job_selector selector;
  static constexpr auto fields() { return field_list(field<1>("selector", &hold::selector)); }
  using reply = change_reply;
};

/// Lets held jobs start.
struct release {
  static constexpr std::string_view method = "org.troupe.jobs.Release";
  job_selector selector;
  static constexpr auto fields() { return field_list(field<1>("selector", &release::selector)); }
  using reply = change_reply;
};

/// Changes what pending jobs ask for; answers when that is durable.
struct modify {
  static constexpr std::string_view method = "org.troupe.jobs.Modify";
  job_selector selector;
  job_changes changes;
  static constexpr auto fields() {
    return field_list(field<1>("selector", &modify::selector),
                      field<2>("changes", &modify::changes));
  }
  using reply = change_reply;
};

/// Sends a signal to all ranks of running jobs.
struct signal {
  static constexpr std::string_view method = "org.troupe.jobs.Signal";
  job_selector selector;
  std::int32_t number = 0;
  static constexpr auto fields() {
    return field_list(field<1>("selector", &signal::selector), field<2>("number", &signal::number));
  }
  using reply = change_reply;
};

struct rows_reply {
  std::vector<job_row> rows;
  static constexpr auto fields() {
    return field_list(field<1>("rows", &rows_reply::rows, mandatory));
  }
};

/// Unfinished jobs in queue order. With `more`: in pieces. `brief` leaves out of the answer every
/// field that has its default value: a third of the bytes.
struct queue {
  static constexpr std::string_view method = "org.troupe.jobs.Queue";
  job_selector selector;
  bool brief = false;
  static constexpr auto fields() {
    return field_list(field<1>("selector", &queue::selector), field<2>("brief", &queue::brief));
  }
  using reply = rows_reply;
};

/// Ended jobs, newest first; `brief` as with queue.
struct history {
  static constexpr std::string_view method = "org.troupe.jobs.History";
  job_selector selector;
  utc_ns since_utc_ns = 0;
  utc_ns until_utc_ns = 0;
  std::uint32_t rows_max = 1000;
  bool brief = false;
  static constexpr auto fields() {
    using s = history;
    return field_list(
        field<1>("selector", &s::selector), field<2>("since_utc_ns", &s::since_utc_ns),
        field<3>("until_utc_ns", &s::until_utc_ns),
        field<4>("rows_max", &s::rows_max, at_most(100'000)), field<5>("brief", &s::brief));
  }
  using reply = rows_reply;
};

/// When jobs that have started had been expected to; newest first.
struct estimates {
  static constexpr std::string_view method = "org.troupe.jobs.Estimates";
  job_selector selector;
  utc_ns since_utc_ns = 0;
  std::uint32_t rows_max = 1000;
  static constexpr auto fields() {
    using s = estimates;
    return field_list(field<1>("selector", &s::selector),
                      field<2>("since_utc_ns", &s::since_utc_ns),
                      field<3>("rows_max", &s::rows_max, at_most(100'000)));
  }
  struct reply {
    std::vector<estimate_row> rows;
    estimate_summary summary;
    static constexpr auto fields() {
      return field_list(field<1>("rows", &reply::rows), field<2>("summary", &reply::summary));
    }
  };
};

/// All of one job.
struct show {
  static constexpr std::string_view method = "org.troupe.jobs.Show";
  job_id job = 0;
  std::uint32_t element = no_element;
  static constexpr auto fields() {
    return field_list(field<1>("job", &show::job), field<2>("element", &show::element));
  }
  struct reply {
    job_view job;
    static constexpr auto fields() { return field_list(field<1>("job", &reply::job)); }
  };
};

/// Why a job waits.
struct why {
  static constexpr std::string_view method = "org.troupe.jobs.Why";
  job_id job = 0;
  static constexpr auto fields() { return field_list(field<1>("job", &why::job)); }
  struct reply {
    why_view why;
    static constexpr auto fields() { return field_list(field<1>("why", &reply::why)); }
  };
};

struct end_row {
  static constexpr std::string_view type_name = "EndRow";
  job_id job = 0;
  std::uint32_t element = no_element;
  exit_report exit;
  static constexpr auto fields() {
    return field_list(field<1>("job", &end_row::job), field<2>("element", &end_row::element),
                      field<3>("exit", &end_row::exit));
  }
};

/// Answers when all of these have ended.
struct wait {
  static constexpr std::string_view method = "org.troupe.jobs.Wait";
  std::vector<job_selector::target> targets;
  static constexpr auto fields() {
    return field_list(field<1>("targets", &wait::targets, at_most(1024)));
  }
  struct reply {
    std::vector<end_row> ends;
    static constexpr auto fields() { return field_list(field<1>("ends", &reply::ends)); }
  };
};

/// Starts a step in a running job's allocation: `spec.step_of` says whose. Answers its number once
/// its start is durable; waits while other steps have the cores. Called again with the same request
/// (the answer may have been lost), it answers the same.
struct run_step {
  static constexpr std::string_view method = "org.troupe.jobs.RunStep";
  job_spec spec;
  std::optional<signed_request> request; ///< none: the connection itself is the holder
  static constexpr auto fields() {
    return field_list(field<1>("spec", &run_step::spec), field<2>("request", &run_step::request));
  }
  struct reply {
    std::uint32_t step = 0;
    static constexpr auto fields() { return field_list(field<1>("step", &reply::step)); }
  };
};

/// Sends a signal to the ranks of a step, or (0) ends it.
struct signal_step {
  static constexpr std::string_view method = "org.troupe.jobs.SignalStep";
  job_id job = 0;
  std::uint32_t step = 0;
  std::int32_t number = 0;
  std::string reason;
  static constexpr auto fields() {
    using s = signal_step;
    return field_list(field<1>("job", &s::job), field<2>("step", &s::step),
                      field<3>("number", &s::number),
                      field<4>("reason", &s::reason, at_most(1024)));
  }
  using reply = change_reply;
};

/// Gives the first task of an element, or of a step of it, bytes for its standard input: those that
/// follow the first `offset` ones. Answers when they have been kept, and after `ends` when all has
/// been read; until then it may be called again, also after the cluster has been away.
struct write_input {
  static constexpr std::string_view method = "org.troupe.jobs.WriteInput";
  job_id job = 0;
  std::uint32_t element = no_element;
  std::uint32_t step = 0;
  std::uint64_t offset = 0;
  std::vector<std::uint8_t> data;
  bool ends = false;
  std::optional<terminal_size> terminal; ///< its size from now on
  static constexpr auto fields() {
    using s = write_input;
    return field_list(field<1>("job", &s::job), field<2>("element", &s::element),
                      field<3>("step", &s::step), field<4>("offset", &s::offset),
                      field<5>("data", &s::data, visibility::owner, at_most(input_bytes_max)),
                      field<6>("ends", &s::ends), field<7>("terminal", &s::terminal));
  }
  struct reply {
    std::uint64_t offset = 0;
    bool closed = false; ///< nobody reads any more
    static constexpr auto fields() {
      return field_list(field<1>("offset", &reply::offset), field<2>("closed", &reply::closed));
    }
  };
};

/// Where a follower stands in one rank's stream.
struct stream_position {
  static constexpr std::string_view type_name = "StreamPosition";
  std::uint32_t rank = 0;
  bool error_stream = false;
  std::uint64_t offset = 0;
  std::uint32_t step = 0; ///< that was spawned; 0: the one that is followed
  static constexpr auto fields() {
    using s = stream_position;
    return field_list(field<1>("rank", &s::rank), field<2>("error_stream", &s::error_stream),
                      field<3>("offset", &s::offset), field<4>("step", &s::step));
  }
};

/// Follows one element: its state, its streamed output from the given positions on, its end. With
/// `more` only. A job submitted as `attached` ends when nobody has followed it for a minute.
struct follow {
  static constexpr std::string_view method = "org.troupe.jobs.Follow";
  job_id job = 0;
  std::uint32_t element = no_element;
  std::vector<stream_position> from;
  bool output = true;
  bool until_end = true;  ///< false: what is there now
  std::uint32_t step = 0; ///< not 0: this step of it
  static constexpr auto fields() {
    using s = follow;
    return field_list(field<1>("job", &s::job), field<2>("element", &s::element),
                      field<3>("from", &s::from, at_most(8192)), field<4>("output", &s::output),
                      field<5>("until_end", &s::until_end), field<6>("step", &s::step));
  }
  struct piece {
    std::uint32_t rank = 0;
    bool error_stream = false;
    std::uint64_t offset = 0;
    std::vector<std::uint8_t> data;
    std::uint32_t step = 0; ///< that was spawned; 0: the one that is followed
    static constexpr auto fields() {
      using s = piece;
      return field_list(field<1>("rank", &s::rank), field<2>("error_stream", &s::error_stream),
                        field<3>("offset", &s::offset), field<4>("data", &s::data),
                        field<5>("step", &s::step));
    }
  };
  /// One of the three is there.
  struct reply {
    std::optional<element_view> state;
    std::optional<piece> output;
    std::optional<exit_report> end;
    static constexpr auto fields() {
      return field_list(field<1>("state", &reply::state), field<2>("output", &reply::output),
                        field<3>("end", &reply::end));
    }
  };
};

} // namespace troupe::calls
