// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "messages/protocol.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

namespace troupe::actors {

/// Which rank's stream a spool file holds.
struct stream_key {
  job_id job = 0;
  std::uint32_t incarnation = 0;
  std::uint32_t step = 0;
  std::uint32_t element = no_element;
  std::uint32_t rank = 0;
  bool error_stream = false;
  auto operator<=>(const stream_key&) const = default;
};

inline stream_key key_of(const read_output& what) {
  return {what.group.job, what.group.incarnation, what.group.step, what.element,
          what.rank,      what.error_stream};
}

/// The files that hold streamed output, one directory per owner: spool/<uid>/<job>/<…>. Nothing in
/// here throws; what cannot be read is passed over where it is only looked for. What ended jobs
/// left is kept until it is more than the limits; then the oldest jobs' goes.
class spool : public std::enable_shared_from_this<spool> {
public:
  struct limits {
    std::uint64_t bytes_max = 1u << 30;
    std::uint64_t jobs_max = 10'000;
    std::uint32_t ends_between_trims = 100;
  };

  explicit spool(std::string directory) : spool{std::move(directory), limits{}} {}
  spool(std::string directory, limits how) : directory_{std::move(directory)}, limits_{how} {}

  /// Opens a stream's file for writing, creating it and its directories (0700, 0600).
  expected<unique_fd> open_for_writing(std::uint32_t uid, const stream_key& key) const;

  /// Opens a stream's file for reading; empty when there is none.
  unique_fd open_for_reading(std::uint32_t uid, const stream_key& key) const;

  /// The owner of a job's files, if it has any.
  std::optional<std::uint32_t> owner_of(job_id job) const;

  /// The highest job that has files; 0 if none has.
  job_id newest_job() const;

  /// This job's files stay until it is released as often as it was held.
  void hold(job_id job);
  /// Every now and then this starts a thread that trims.
  void release(job_id job);
  /// Trims on a thread of its own; where none can be started, the next release tries again.
  void trim_soon(std::set<job_id> unfinished = {});

  /// Removes the files of the oldest jobs until the limits are met: not of those that are held, nor
  /// of those in `unfinished`.
  void trim(const std::set<job_id>& unfinished = {});

private:
  std::string path_of(std::uint32_t uid, const stream_key& key) const;
  bool is_held(job_id job) const;
  void start_trimming(std::set<job_id> unfinished);

  std::string directory_;
  limits limits_;
  mutable std::mutex mutex_;
  std::map<job_id, std::uint32_t> held_;
  std::uint32_t ends_ = 0;
  bool trimming_ = false;
};

/// Reads up to `bytes_max` bytes at `offset`; fewer at the end of what is there.
expected<bytes> read_at(int fd, std::uint64_t offset, std::size_t bytes_max);

} // namespace troupe::actors
