// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "runtime/launch/poll_thread.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace troupe::launch {

/// Moves streamed output from the launcher's pipes into spool files, by splice(2): a byte is in the
/// pipe or in the file, so that a crash in between loses none and doubles none. One thread for all
/// streams; nothing of the output passes through this process's memory. A terminal's does, since
/// the kernel splices none: a crash may lose what was read in that instant.
class output_pump {
public:
  /// Called on the pump's thread when a stream's file has grown, or the stream has ended (all its
  /// writers are gone). `discarded`: bytes thrown away because the disk took no more.
  struct progress {
    std::uint64_t stream = 0;
    std::uint64_t bytes = 0;
    std::uint64_t discarded = 0;
    bool ended = false;
  };
  using on_progress = std::function<void(const progress&)>;

  explicit output_pump(on_progress report);
  output_pump(const output_pump&) = delete;
  output_pump& operator=(const output_pump&) = delete;

  /// Takes a pipe's read end and the file it goes to, from the file's end on. When the file has
  /// `limit_bytes`, the pipe fills and the writer waits until `raise_limit`.
  expected<void> add(std::uint64_t stream, unique_fd pipe, unique_fd file,
                     std::uint64_t limit_bytes);
  void raise_limit(std::uint64_t stream, std::uint64_t limit_bytes);
  /// Nobody will read it: closes both.
  void remove(std::uint64_t stream);

private:
  struct entry {
    std::uint64_t stream = 0;
    unique_fd pipe;
    unique_fd file;
    std::uint64_t size = 0;
    std::uint64_t limit = 0;
    std::uint64_t discarded = 0;
    bool armed = true;
    bool is_terminal = false;
  };

  void on_ready(std::uint64_t id);
  bool move_some(entry& what, bool& ended);
  bool copy_some(entry& what, bool& ended);
  void discard_some(entry& what, bool& ended);
  void arm(entry& what, bool on);

  on_progress report_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::unique_ptr<entry>> entries_;
  poll_thread poll_; ///< the last: it uses the others
};

} // namespace troupe::launch
