// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "runtime/launch/poll_thread.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace troupe::launch {

/// Writes streamed input into the launcher's pipes and terminals. What was given is first in the
/// stream's store, a memfd that the launcher keeps: its size is what was given, its file position
/// what has been written. The kernel moves both at once with the bytes, so whoever comes after a
/// crash goes on exactly there.
class input_pump {
public:
  /// Called on the pump's thread with a stream whose store has drained further, or that is closed.
  using on_progress = std::function<void(std::uint64_t stream)>;

  explicit input_pump(on_progress report);
  input_pump(const input_pump&) = delete;
  input_pump& operator=(const input_pump&) = delete;

  /// Takes what the launcher lends. A stream that is known stays as it is.
  expected<void> add(std::uint64_t stream, unique_fd to, unique_fd store);

  struct taken {
    std::uint64_t bytes = 0; ///< given so far
    bool drained = false;    ///< and written
    bool closed = false;     ///< nobody reads it any more, or it is not known
  };
  /// Gives the bytes that follow the first `offset` ones: those that were given before are passed
  /// over, and nothing is taken while much has not been written yet.
  expected<taken> give(std::uint64_t stream, std::uint64_t offset, byte_view data);

  /// The size of the terminal at the stream's other end.
  void resize(std::uint64_t stream, std::uint16_t rows, std::uint16_t columns);

  /// Lets go of it: its other end sees the end of the stream when the launcher has, too.
  void remove(std::uint64_t stream);

private:
  struct entry {
    std::uint64_t stream = 0;
    unique_fd to;
    unique_fd store;
    std::uint64_t given = 0;
    std::uint64_t written = 0;
    std::uint64_t punched = 0; ///< of the store, given back to the system
    bool is_terminal = false;
    bool closed = false;
    bool armed = false;
  };

  void on_ready(std::uint64_t id, std::uint32_t events);
  void move_some(entry& what);
  void punch(entry& what);
  void close(entry& what);
  void arm(entry& what);

  on_progress report_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::unique_ptr<entry>> entries_;
  poll_thread poll_; ///< the last: it uses the others
};

} // namespace troupe::launch
