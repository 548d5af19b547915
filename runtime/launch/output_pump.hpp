// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "runtime/launch/poll_thread.hpp"

#include <atomic>
#include <chrono>
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
/// streams does it, opens the files and waits for the disk; nothing of the output passes through
/// this process's memory. A terminal's does, since the kernel splices none: a crash may lose what
/// was read in that instant.
///
/// Nothing is thrown away. What a file does not take, or cannot be opened, stays in the pipe: its
/// writer waits when that is full, and the stream is tried again, at first soon, then every few
/// seconds.
class output_pump {
public:
  /// Called on the pump's thread when a stream's file has grown, when the stream has ended (all its
  /// writers are gone), and when it cannot be moved: then `trouble` says why, once.
  struct progress {
    std::uint64_t stream = 0;
    std::uint64_t bytes = 0;
    bool ended = false;
    std::string trouble;
  };
  using on_progress = std::function<void(const progress&)>;
  /// Opens a stream's file, which is written from its end on.
  using opener = std::function<expected<unique_fd>()>;

  explicit output_pump(on_progress report);
  output_pump(const output_pump&) = delete;
  output_pump& operator=(const output_pump&) = delete;

  /// Takes a pipe's read end and what opens the file it goes to. When the file has `limit_bytes`,
  /// the pipe fills and the writer waits until `raise_limit`. Never waits for the disk.
  [[nodiscard]] expected<void> add(std::uint64_t stream, unique_fd pipe, opener open,
                                   std::uint64_t limit_bytes);
  void raise_limit(std::uint64_t stream, std::uint64_t limit_bytes);
  /// Nobody will read it: closes both.
  void remove(std::uint64_t stream);

private:
  using time_point = std::chrono::steady_clock::time_point;

  struct entry {
    std::uint64_t stream = 0;
    std::atomic<std::uint64_t> limit{0};
    // The rest is the pump's thread's own, once it was added.
    unique_fd pipe;
    unique_fd file;
    opener open;
    std::uint64_t size = 0;
    std::vector<char> taken; ///< of a terminal: read, and not yet in the file
    bool armed = false;
    bool is_terminal = false;
    std::chrono::milliseconds pause{0}; ///< not 0: it could not be moved
    time_point again{};                 ///< then it is tried again
  };
  using entry_ptr = std::shared_ptr<entry>;

  void poke(std::uint64_t stream);
  void on_ready(std::uint64_t id);
  void on_timer();
  void work(std::uint64_t id);
  void move(entry& of, progress& report);
  bool open_file(entry& of, std::string& trouble);
  bool splice_some(entry& of, progress& report);
  bool copy_some(entry& of, progress& report);
  bool write_taken(entry& of, std::string& trouble);
  void arm(entry& of, bool on, std::string& trouble);
  void put_off(const entry_ptr& of);

  on_progress report_;
  std::mutex mutex_; ///< never held while the disk is waited for
  std::unordered_map<std::uint64_t, entry_ptr> entries_;
  std::vector<std::uint64_t> poked_;                     ///< to be looked at by the thread
  std::vector<entry_ptr> removed_;                       ///< to be closed by it
  std::unordered_map<std::uint64_t, entry_ptr> put_off_; ///< the thread's own: to be tried again
  poll_thread poll_;                                     ///< the last: it uses the others
};

} // namespace troupe::launch
