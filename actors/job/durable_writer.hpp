// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "actors/alarm.hpp"
#include "base/backoff.hpp"

#include <deque>
#include <functional>

namespace troupe::actors {

/// All that a job writes to the ledger goes through here: there is no way to append without saying
/// what becomes of it when the ledger refuses. Either somebody hears of it (`attempt`), or it is
/// tried until it is kept, with a back-off (`insist`). After a refusal nothing that is insisted on
/// is tried before that back-off is over: one try, not one per news.
class durable_writer {
public:
  using self_pointer = job_actor::pointer;
  using keep = std::function<void(const entries_kept&)>;
  using refuse = std::function<void(const error&)>;
  /// What to append, as it is now; nothing: it is not needed any more.
  using make = std::function<std::optional<append_entries>()>;

  /// `settled` is called behind every answer's own handler.
  durable_writer(self_pointer self, world& around, ledger_actor ledger, verified_capability cap,
                 job_id job, std::function<void()> settled)
      : self_{self}, world_{around}, ledger_{std::move(ledger)}, cap_{std::move(cap)}, job_{job},
        settled_{std::move(settled)} {}

  void attempt(append_entries what, keep kept, refuse refused);
  /// `what` says in the log what cannot be written.
  void insist(std::string what, make entries, keep kept);
  /// Tries again what was refused, when that is due.
  void retry();

  /// Nothing is on its way to the disk, and nothing waits to be tried again.
  bool is_idle() const { return in_flight_ == 0 && refused_.empty(); }
  /// When there is something to be tried again; 0: there is nothing.
  boot_ns due() const { return refused_.empty() ? 0 : due_; }
  std::size_t waiting() const { return refused_.size(); }
  /// What the ledger does not take, why, and after how long it is tried again; "": it takes all.
  const std::string& refusal() const { return refusal_; }

private:
  struct insisted {
    std::string what;
    make entries;
    keep kept;
  };

  void begin(insisted one);
  void again(insisted one, const error& why);
  void none_refused();

  self_pointer self_;
  world& world_;
  ledger_actor ledger_;
  verified_capability cap_;
  job_id job_;
  std::function<void()> settled_;
  std::uint32_t in_flight_ = 0;
  std::deque<insisted> refused_;
  backoff wait_ = usual_backoff();
  boot_ns due_ = 0;
  std::string refusal_; ///< until something is kept again, or nothing waits any more
};

} // namespace troupe::actors
