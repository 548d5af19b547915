// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "messages/shepherd_packets.hpp"
#include "runtime/launch/poll_thread.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace troupe::launch {

/// The agents' ends of shepherds' sockets: frames in, frames out, one thread for all of them. What
/// a shepherd says is bounded by a frame; what waits for one that does not read, too.
class shepherd_lines {
public:
  /// Called on the thread of the lines with each frame, and once with none when a line has ended.
  struct news {
    std::uint64_t line = 0;
    std::vector<std::uint8_t> frame;
    bool ended = false;
  };
  using on_news = std::function<void(news&&)>;

  /// Bytes that may wait for a shepherd to read them, when more of what may be lost is offered; and
  /// of what may not. There is little of that: the second limit is for one that is broken.
  static constexpr std::size_t waiting_bytes_max = 64u << 20;
  static constexpr std::size_t waiting_bytes_hard_max = 128u << 20;

  explicit shepherd_lines(on_news report);
  shepherd_lines(const shepherd_lines&) = delete;
  shepherd_lines& operator=(const shepherd_lines&) = delete;

  expected<void> add(std::uint64_t line, unique_fd socket);
  /// Fails when the line is not there, or when its shepherd has stopped reading.
  expected<void> send(std::uint64_t line, byte_view frame);
  /// The same of what its sender would send again: the first to be left out.
  expected<void> offer(std::uint64_t line, byte_view frame);
  void remove(std::uint64_t line);

private:
  struct entry {
    unique_fd socket;
    shepherd::packet_reader reader;
    std::deque<std::vector<std::uint8_t>> waiting;
    std::size_t waiting_bytes = 0;
  };

  expected<void> put(std::uint64_t line, byte_view frame, std::size_t waiting_max);
  void on_ready(std::uint64_t line, std::uint32_t events);
  static std::uint32_t events_for(const entry& what);
  bool read_some(std::uint64_t line, entry& what, std::vector<news>& heard);
  void write_some(std::uint64_t line, entry& what);

  on_news report_;
  std::mutex mutex_;
  std::unordered_map<std::uint64_t, std::unique_ptr<entry>> entries_;
  poll_thread poll_; ///< the last: it uses the others
};

} // namespace troupe::launch
