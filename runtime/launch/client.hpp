// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"
#include "base/unique_fd.hpp"
#include "runtime/launch/protocol.hpp"

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace troupe::launch {

/// One order of a batch: its canonical bytes, its seal, and which spec of the batch it executes.
struct sealed_order {
  byte_view order;
  byte_view seal;
  std::uint32_t spec_index = 0;
};

/// Who the launcher is. `ranges` are the node ids it serves.
struct welcomed {
  welcome launcher;
  std::vector<node_range> ranges;
  std::uint32_t features = 0; ///< feature_ranges
};

/// What happened, at most 64 records in the order of their numbers. After a reconnect, records that
/// were not acknowledged come again: those with a seq already seen are to be left out. Each
/// instance of a launcher numbers from 1.
struct recorded {
  std::vector<record> records;
};

/// An order or another request that was not done; `text` is a sentence for people.
struct refused {
  refusal what;
  std::string text;
};

/// A stream's read end; of input its write end and its store. It may come more than once for one
/// id: after `lend`, `inventory`.
struct lent_stream {
  stream what;
  unique_fd fd;
  unique_fd store;
};

/// A stream whose descriptors could not be taken: this process has none free. To be lent again.
struct unlent_stream {
  stream what;
};

/// What runs and waits; ends with an `inventory_end`.
struct inventoried {
  std::vector<inventory_entry> entries;
};

/// The sentence of the start_failed record with number `seq`; comes before that record.
struct detailed {
  std::uint64_t seq = 0;
  std::string text;
};

using event = std::variant<welcomed, recorded, refused, batch_done, lent_stream, unlent_stream,
                           inventoried, inventory_end, detailed>;

/// A connection to one launcher. Requests may be sent from any thread: each is one datagram. None
/// blocks: what the launcher does not read at once waits here, and `receive` sends it.
/// errc::exhausted when too much waits, or the kernel did not give what the request needs: nothing
/// was sent, and it may be tried again; errc::unreachable when the connection is gone. One thread
/// at a time may receive.
class launcher_client {
public:
  /// What may wait for a launcher that does not read; of batches, which hold a descriptor each.
  static constexpr std::size_t waiting_max = 65536;
  static constexpr std::size_t waiting_batches_max = 64;

  /// Connects and greets with the keyring's bytes (empty: the launcher uses the one it knows).
  /// errc::unreachable when nothing listens or answers in time, errc::refused when it declines.
  static expected<launcher_client> connect(const std::string& socket, byte_view keyring,
                                           std::chrono::milliseconds deadline);

  const welcomed& launcher() const { return welcomed_; }

  /// For poll(): readable when `receive` will not block.
  int fd() const { return fd_.get(); }

  /// `tag` comes back in refusals and in `batch_done`. At most 4,096 orders and specs, 8 MiB in all
  /// (errc::invalid beyond).
  expected<void> launch(std::uint64_t tag, std::span<const sealed_order> orders,
                        std::span<const byte_view> specs);
  /// Elements lo to hi, both included; without an array both auth::no_element.
  expected<void> signal(const group_key& key, std::uint32_t lo, std::uint32_t hi,
                        std::uint32_t signo);
  expected<void> end(const group_key& key, std::uint32_t lo, std::uint32_t hi,
                     std::uint32_t grace_s);
  expected<void> revoke(const group_key& key, std::uint32_t element_from);
  /// These are durable here. Only a launcher with feature_ranges understands it.
  expected<void> acknowledge(std::span<const seq_range> ranges);
  /// Everything up to `seq` is durable here.
  expected<void> acknowledge(std::uint64_t seq);
  expected<void> forget(const group_key& key);
  expected<void> lend(std::uint64_t stream_id);
  expected<void> drop_stream(std::uint64_t stream_id);
  expected<void> inventory();
  /// The launcher replaces its program; a new `welcomed` follows, on this connection or, when this
  /// one is closed, on the next.
  expected<void> reexec();
  /// `end_jobs` false: refused while something runs.
  expected<void> shutdown(bool end_jobs);

  /// The next event; blocks. errc::unreachable: the connection is gone, errc::internal: the
  /// launcher sent what this protocol does not know.
  expected<event> receive();

  /// As above, but errc::exhausted when nothing arrives in time.
  expected<event> receive_within(std::chrono::milliseconds deadline);

  /// Wakes a blocked `receive`, from another thread.
  void interrupt();

private:
  struct waiting_request {
    std::vector<std::uint8_t> bytes;
    unique_fd file;
  };
  /// Requests that the socket has not taken yet, in their order.
  struct outbox {
    std::mutex mutex;
    std::deque<waiting_request> waiting;
    std::size_t batches = 0; ///< of them
    bool is_short = false;   ///< for want of the kernel's memory: it does not tell when it has some
    unique_fd wake;          ///< an eventfd: something waits
  };

  launcher_client(unique_fd fd, unique_fd wake);

  enum class sending : std::uint8_t { done, full, broken };
  sending send_now(const void* bytes, std::size_t length, int passed_fd);
  void send_waiting();
  expected<bool> wait_for_event(int timeout_ms);
  expected<event> receive_one();
  expected<void> send(const void* bytes, std::size_t length, unique_fd passed = {});
  template <class M>
  expected<void> send_message(const M& body);
  template <class M>
  expected<void> send_empty();

  unique_fd fd_;
  std::unique_ptr<outbox> outbox_;
  welcomed welcomed_;
};

} // namespace troupe::launch
