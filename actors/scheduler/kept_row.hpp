// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/types.hpp"

#include <memory>
#include <set>

namespace troupe::actors {

/// Text that few jobs have: a pointer's size where there is none.
class rare_text {
public:
  rare_text() = default;
  explicit rare_text(const std::string& text)
      : text_{text.empty() ? nullptr : std::make_unique<std::string>(text)} {}
  std::string text() const { return text_ ? *text_ : std::string{}; }

private:
  std::unique_ptr<std::string> text_;
};

/// A job's row in little memory: the scheduler has one for each job there is, and tens of thousands
/// may wait.
class kept_row {
public:
  /// What many jobs have in common.
  struct owner {
    std::string user, queue, account;
    auto operator<=>(const owner&) const = default;
  };

  operator job_row() const; // a row like any other, whenever one is asked for

  const std::string& user() const { return owner_->user; }
  const std::string& queue() const { return owner_->queue; }
  const std::string& account() const { return owner_->account; }

  job_id job = 0;
  utc_ns submitted_utc_ns = 0, started_utc_ns = 0, ended_utc_ns = 0;
  std::uint64_t memory_bytes = 0;
  std::uint32_t nodes = 0, tasks = 1, cores_per_task = 1, gpus_per_task = 0, time_limit_s = 0;
  std::uint32_t elements_total = 0, elements_pending = 0, elements_running = 0, elements_failed = 0;
  std::int32_t exit_code = 0, signal = 0, nice = 0;
  job_state state = job_state::pending;
  bool held = false;
  std::string name;

private:
  friend class row_keeper;
  std::shared_ptr<const owner> owner_;
  rare_text nodelist_, reason_;
};

/// Makes kept rows; knows the owners that some of them have.
class row_keeper {
public:
  kept_row keep(job_row row);

private:
  struct by_value {
    using is_transparent = void;
    static const kept_row::owner& of(const kept_row::owner& one) { return one; }
    static const kept_row::owner& of(const std::shared_ptr<const kept_row::owner>& one) {
      return *one;
    }
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return of(a) < of(b);
    }
  };

  std::shared_ptr<const kept_row::owner> share(kept_row::owner one);

  std::set<std::shared_ptr<const kept_row::owner>, by_value> owners_;
  std::size_t prune_at_ = 1024;
};

} // namespace troupe::actors
