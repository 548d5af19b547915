// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"
#include "runtime/ledger/connection.hpp"
#include "runtime/ledger/head.hpp"
#include "runtime/ledger/log_scan.hpp"
#include "runtime/ledger/store.hpp"

// What a store holds; shared by store.cpp and store_open.cpp only.

namespace troupe::ledger {

struct store::state : reads::connection {
  options how;
  const clock_source* clock = nullptr;
  projections tables;
  statement insert_event;
  statement set_highest;
  statement begin;
  statement commit;
  statement rollback;
  ballast reserve;
  head_file head_beside;
  std::uint64_t identity = 0;
  std::uint64_t next_seq = 1;
  utc_ns appended_at = 0; ///< of the last append that was kept
  std::uint64_t highest_job = 0;
  std::uint64_t highest_job_opened = 0; ///< as it was when the ledger was opened
  std::uint64_t wal_pages = 0;
  std::uint64_t page_bytes = 4096;
  boot_ns reserve_tried = 0;
  // Where the log ended when the last transaction was kept.
  unique_fd log;
  std::uint64_t log_frames = 0;
  log_salts salts{};
  /// A write or sync failed, and the log could not be cut to that end: what it holds is not known.
  bool undecided = false;
  boot_ns settle_at = 0; ///< not tried again before
  boot_ns settle_pause = 0;
  std::vector<std::uint8_t> scratch;

  expected<void> settle_version(const std::optional<head>& known);
  expected<void> compare(const std::optional<head>& known, std::int64_t version);
  expected<void> settle_head(const std::optional<head>& known);
  int find_log_end();
  bool cut_log() const;
  bool settle_log();
  int prepare();
  expected<void> finish(int code, const std::string& doing);
  expected<void> decided();
  expected<std::uint64_t> append(std::span<const event> events);
  expected<std::uint64_t> try_append(std::span<const event> events, int& code);
  expected<void> append_one(const event& e, utc_ns now);
  int insert(const stored_event& at, const event& e);
  tl::unexpected<error> refusal(projection_fault why, const event& e);
  int move_wal(int mode);
  bool try_reserve();
  bool disk_is_full() const;
  void give_up_reserve();
};

} // namespace troupe::ledger
