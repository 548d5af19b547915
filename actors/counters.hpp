// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <atomic>
#include <caf/actor_addr.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace troupe::actors {

/// One actor's counters. They live outside its mailbox, so that a stuck actor stays visible.
struct actor_counters {
  std::uint64_t id = 0;
  std::uint64_t parent = 0;
  std::string name;
  caf::actor_addr address; ///< where its status is asked; none for connections
  std::atomic<std::uint64_t> received{0};
  std::atomic<std::uint64_t> consumed{0};
  std::atomic<std::uint64_t> admitted{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> busy_ns{0};

  void note_error(std::string text) {
    std::lock_guard lock{mutex_};
    last_error_ = std::move(text);
  }
  std::string last_error() const {
    std::lock_guard lock{mutex_};
    return last_error_;
  }

private:
  mutable std::mutex mutex_;
  std::string last_error_;
};

/// All actors' counters; any thread may look.
class counter_table {
public:
  std::shared_ptr<actor_counters> add(std::uint64_t id, std::string name, std::uint64_t parent) {
    auto entry = std::make_shared<actor_counters>();
    entry->id = id;
    entry->name = std::move(name);
    entry->parent = parent;
    std::lock_guard lock{mutex_};
    entries_[id] = entry;
    return entry;
  }

  /// Those without a parent get one: the root, which is made last.
  void adopt_orphans(std::uint64_t parent) {
    std::lock_guard lock{mutex_};
    for (auto& [id, entry] : entries_)
      if (entry->parent == 0 && id != parent)
        entry->parent = parent;
  }

  void remove(std::uint64_t id) {
    std::lock_guard lock{mutex_};
    entries_.erase(id);
  }

  /// By number or by name.
  std::shared_ptr<actor_counters> find(const std::string& text) const {
    std::lock_guard lock{mutex_};
    for (const auto& [id, entry] : entries_)
      if (entry->name == text || std::to_string(id) == text)
        return entry;
    return nullptr;
  }

  std::vector<actor_row> rows() const {
    std::lock_guard lock{mutex_};
    std::vector<actor_row> result;
    result.reserve(entries_.size());
    for (const auto& [id, entry] : entries_)
      result.push_back(row_of(*entry));
    return result;
  }

  static actor_row row_of(const actor_counters& entry) {
    actor_row row;
    row.id = entry.id;
    row.name = entry.name;
    row.parent = entry.parent;
    row.received = entry.received;
    row.handled = entry.admitted;
    row.refused = entry.refused;
    auto consumed = entry.consumed.load();
    row.mailbox = row.received > consumed ? row.received - consumed : 0;
    row.busy_us = entry.busy_ns / 1000;
    row.last_error = entry.last_error();
    return row;
  }

private:
  mutable std::mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<actor_counters>> entries_;
};

} // namespace troupe::actors
