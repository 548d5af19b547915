// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/frame_reader.hpp"

namespace troupe::varlink {

/// A reply that owns its text.
struct received {
  std::string parameters;                  ///< one JSON object
  std::optional<application_error> failed; ///< set for an error reply
  bool continues = false;                  ///< more replies to this call follow
};

/// The caller's end of a connection. Blocking, for one thread. After errc::unreachable the
/// connection is of no further use; reconnecting is the owner's decision.
class client {
public:
  using milliseconds = std::chrono::milliseconds;

  /// Connects to the Unix socket at `path`, waiting up to `deadline` where the server's queue is
  /// full.
  static expected<client> connect(const std::string& path, milliseconds deadline);

  /// Takes over a connected stream socket.
  explicit client(unique_fd connected);

  /// Calls and waits for the one reply: its parameters, or the error it carried.
  expected<std::string> call(std::string_view method, std::string_view parameters);

  /// Calls with `more` and hands each reply's parameters to `handle` until the last one, or until
  /// it says false: then the connection still carries the rest of the stream and should be closed.
  expected<void> stream(std::string_view method, std::string_view parameters,
                        const std::function<bool(std::string_view)>& handle);

  /// Sends without waiting for replies; these come in the same order from `receive`. Replies that
  /// arrive meanwhile are kept (up to one frame's limit each), so that neither side waits for the
  /// other.
  expected<void> send(const varlink::call& what);

  /// The next reply. Waits without limit.
  expected<received> receive();

  /// The next reply, or nothing after `wait` (0: only what is there).
  expected<std::optional<received>> receive_within(milliseconds wait);

  /// What ended a wait.
  enum class event { reply, other_readable, timed_out };

  /// Waits until a reply is complete or `other` (a signalfd, a terminal; -1: none) is readable.
  /// Replies go first. A negative `wait` is without limit.
  expected<event> wait_for(int other, milliseconds wait);

  int fd() const { return fd_.get(); }

private:
  using clock = std::chrono::steady_clock;
  expected<void> read_some();
  expected<void> write_all(std::string_view bytes);
  expected<void> take(std::string_view frame);
  expected<void> lost(int number) const;
  received pop();

  unique_fd fd_;
  frame_reader reader_;
  std::deque<received> replies_;
};

} // namespace troupe::varlink
