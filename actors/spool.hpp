// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "messages/protocol.hpp"

#include <functional>
#include <optional>
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

/// The files that hold streamed output, one directory per owner: spool/<uid>/<job>/<…>.
class spool {
public:
  explicit spool(std::string directory) : directory_{std::move(directory)} {}

  /// Opens a stream's file for writing, creating it and its directories (0700, 0600).
  expected<unique_fd> open_for_writing(std::uint32_t uid, const stream_key& key) const;

  /// Opens a stream's file for reading; empty when there is none.
  unique_fd open_for_reading(std::uint32_t uid, const stream_key& key) const;

  /// The owner of a job's files, if it has any.
  std::optional<std::uint32_t> owner_of(job_id job) const;

  /// Removes the oldest jobs' files until at most `bytes_max` are left. Never those in `live`.
  void trim(std::uint64_t bytes_max, const std::function<bool(job_id)>& live) const;

private:
  std::string path_of(std::uint32_t uid, const stream_key& key) const;
  std::string directory_;
};

/// Reads up to `bytes_max` bytes at `offset`; fewer at the end of what is there.
bytes read_at(int fd, std::uint64_t offset, std::size_t bytes_max);

} // namespace troupe::actors
