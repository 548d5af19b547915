// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/ledger/store.hpp"

// What a store holds; shared by store.cpp and store_read.cpp only.

namespace troupe::ledger {

struct store::state {
  options how;
  const clock_source* clock = nullptr;
  database db; // before the statements, which must go first
  projections tables;
  statement insert_event;
  statement set_highest;
  statement begin;
  statement commit;
  statement rollback;
  statement job_by_request;
  statement events_by_job;
  statement unfinished;
  ballast reserve;
  std::uint64_t next_seq = 1;
  std::uint64_t highest_job = 0;
  std::uint64_t highest_job_opened = 0; ///< as it was when the ledger was opened
  std::uint64_t wal_pages = 0;
  std::uint64_t page_bytes = 4096;
  boot_ns reserve_tried = 0;
  bool broken =
      false; ///< a sync failed: what is on the disk is not known until the ledger is opened again
  std::vector<std::uint8_t> scratch;

  int prepare();
  tl::unexpected<error> failure(int code, const std::string& doing);
  expected<std::uint64_t> append(std::span<const event> events);
  expected<void> append_one(const event& e, utc_ns now);
  int insert(const stored_event& at, const event& e);
  tl::unexpected<error> refusal(projection_fault why, const event& e);
  int move_wal(int mode);
  bool try_reserve();
  bool disk_is_full() const;
  void give_up_reserve();
};

/// Reads the columns of events in the order of `event_columns`.
stored_event read_event(const statement& from);

inline constexpr const char* event_columns =
    "e.seq, e.utc_ns, e.job, e.element, e.incarnation, e.kind, e.version, e.payload";

} // namespace troupe::ledger
