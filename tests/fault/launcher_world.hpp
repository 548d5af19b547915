// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/exec_spec.hpp"
#include "auth/keyring.hpp"
#include "auth/order.hpp"
#include "auth/seal.hpp"
#include "catch.hpp"
#include "runtime/launch/spawn.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <optional>

// A real launcher, the keys of a cluster made for the test, and its one peer.

namespace troupe::testing {

using namespace std::chrono_literals;

/// What is asked of one order; a test changes what it is about.
struct wish {
  auth::launch_order order;
  auth::exec_spec spec;
};

class launcher_world {
public:
  /// `options` go to `troupe-launcher run`.
  explicit launcher_world(bool is_private = true, std::vector<std::string> options = {});
  ~launcher_world();
  launcher_world(const launcher_world&) = delete;
  launcher_world& operator=(const launcher_world&) = delete;

  void start();
  void connect();
  void disconnect() { client_.reset(); }
  /// kill -9, and waits until it is gone, and its keeper with all that it had left.
  void kill_launcher();
  /// The same of one that the test started itself.
  void kill_launcher(pid_t keeper);
  launch::launcher_client& client() { return *client_; }
  pid_t pid() const { return pid_; }
  /// The process that was started, whose child the launcher is.
  pid_t keeper() const { return keeper_; }
  const std::string& folder() const { return folder_; }
  std::string socket() const { return place_.socket; }
  const std::vector<std::uint8_t>& keyring() const { return keyring_; }
  std::vector<std::uint8_t> make_keyring(std::uint32_t version) const;
  const auth::key_pair& signer() const { return signer_; }
  std::string log() const;

  /// One process of `command` as a job of its own; job ids rise.
  wish job(std::vector<std::string> command);
  /// `command` run by /bin/sh.
  wish shell(const std::string& command) { return job({"/bin/sh", "-c", command}); }
  /// Elements first to first + count - 1, `window` at once.
  static void make_array(wish& w, std::uint32_t first, std::uint32_t count, std::uint32_t window);

  /// Seals and sends; answers the tag. The spec digest is filled in.
  std::uint64_t send(wish w);
  std::uint64_t send_all(std::vector<wish> wishes);
  /// Sends bytes that an attacker made.
  std::uint64_t send_raw(byte_view order, byte_view seal, byte_view spec);
  std::vector<std::uint8_t> seal(byte_view order) const;

  /// Takes events until `done` holds; false after `deadline`.
  bool wait_for(const std::function<bool()>& done, std::chrono::milliseconds deadline = 20s);

  /// The end of one element, waited for.
  launch::record end_of(const wish& w, std::uint32_t element = auth::no_element);
  /// Sends, and waits for the end.
  launch::record run(const wish& w);
  /// Sends, and waits for the refusal of that batch.
  launch::refused refusal_of(const wish& w);
  launch::refused refusal_with(std::uint64_t tag);
  void acknowledge_all();

  static launch::group_key key(const wish& w) {
    return {w.order.job, w.order.incarnation, w.order.step};
  }
  std::size_t count(launch::record_kind kind, std::uint64_t job) const;

  // Everything that arrived so far; records once per number.
  std::map<std::uint64_t, launch::record> records;
  std::vector<launch::refused> refusals;
  std::map<std::uint64_t, launch::batch_done> batches;
  std::map<std::uint64_t, launch::lent_stream> streams;
  std::map<std::uint64_t, std::string> details;
  std::vector<launch::inventory_entry> inventory;
  std::size_t inventories_ended = 0;
  std::size_t welcomes = 0;

private:
  void take(launch::event event);

  std::string folder_;
  launch::launcher_place place_;
  std::vector<std::string> options_;
  auth::key_pair root_ = auth::key_pair::generate();
  auth::key_pair signer_ = auth::key_pair::generate();
  fixed_bytes<16> cluster_id_{};
  std::vector<std::uint8_t> keyring_;
  std::optional<launch::launcher_client> client_;
  fixed_bytes<16> instance_{};
  pid_t pid_ = 0;
  pid_t keeper_ = 0;
  std::uint64_t next_job_ = 1;
  std::uint64_t next_tag_ = 1;
};

/// Waits for `done`, which is looked at every few milliseconds; for what no event tells.
bool eventually(const std::function<bool()>& done, std::chrono::milliseconds deadline = 20s);

/// Everything until the end of the stream.
std::string read_all(int fd);
std::string read_file(const std::string& path);
bool is_alive(pid_t pid);

} // namespace troupe::testing
