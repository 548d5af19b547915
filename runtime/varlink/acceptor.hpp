// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <sys/types.h>
#include <thread>

#include "base/error.hpp"
#include "base/unique_fd.hpp"

// The listening socket. It has a thread of its own because the broker that would do it spins at
// full load when the process has no descriptor left, and because credentials must be read before
// anyone speaks.

namespace troupe::varlink {

/// Who is at the other end, as the kernel recorded it when the peer connected.
struct peer_credentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  /// Refers to the peer's process. Without SO_PEERPIDFD (Linux 6.5) it is opened by number, so it
  /// names the process that has this number now; empty when there is none any more.
  unique_fd pidfd;
};

/// Counts one connection against the bound for as long as it lives. Keep it with the connection.
class connection_slot {
public:
  connection_slot() = default;
  explicit connection_slot(std::shared_ptr<std::atomic<std::size_t>> open)
      : open_{std::move(open)} {
    ++*open_;
  }
  connection_slot(connection_slot&&) noexcept = default;
  connection_slot& operator=(connection_slot&& other) noexcept {
    connection_slot old{std::move(*this)};
    open_ = std::move(other.open_);
    return *this;
  }
  ~connection_slot() {
    if (open_)
      --*open_;
  }

private:
  std::shared_ptr<std::atomic<std::size_t>> open_;
};

/// A connection just accepted: non-blocking, close-on-exec.
struct accepted_connection {
  unique_fd fd;
  peer_credentials peer;
  connection_slot slot;
};

/// Who may connect to the socket; what they may do is decided per request.
enum class socket_access : mode_t { owner_only = 0600, everyone = 0666 };

struct acceptor_options {
  std::string path;
  socket_access access = socket_access::owner_only;
  std::size_t connections_max = 4096;
};

/// Owns the listening socket, its path and its lock file (`path` + ".lock").
class acceptor {
public:
  /// Called on the acceptor's thread with each connection.
  using on_accept = std::function<void(accepted_connection)>;

  /// Takes over a socket left by a dead server, never one of a live server (errc::conflict).
  static expected<std::unique_ptr<acceptor>> listen(acceptor_options options, on_accept handle);

  acceptor(const acceptor&) = delete;
  acceptor& operator=(const acceptor&) = delete;

  /// Stops accepting, joins the thread and removes the socket; connections handed out live on.
  ~acceptor();

  /// Connections closed at once because a bound was reached: ours, or the system's on descriptors
  /// or memory.
  std::uint64_t refused() const { return refused_.load(); }

  /// Connections whose slot is alive.
  std::size_t open() const { return open_->load(); }

private:
  acceptor(acceptor_options options, on_accept handle)
      : options_{std::move(options)}, handle_{std::move(handle)} {}

  expected<void> lock();
  expected<void> clear_stale_socket() const;
  expected<void> bind();
  expected<void> start();
  void run();
  /// Accepts what waits; false when accepting makes no progress now.
  bool accept_one();
  bool accept_failed(int error_number);
  void refuse(unique_fd fd);

  acceptor_options options_;
  on_accept handle_;
  std::shared_ptr<std::atomic<std::size_t>> open_ = std::make_shared<std::atomic<std::size_t>>(0);
  std::atomic<std::uint64_t> refused_ = 0;
  unique_fd lock_;
  unique_fd listener_;
  unique_fd stop_;
  unique_fd reserve_;
  bool bound_ = false;
  std::thread thread_;
};

} // namespace troupe::varlink
