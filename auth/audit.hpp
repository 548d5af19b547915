// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/capability.hpp"
#include "auth/keyring.hpp"
#include "base/unique_fd.hpp"

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace troupe::auth {

// The audit log: one line of JSON per record, each holding the hash of the line before it.
//
//   {"seq":7,"utc_ns":…,"prev":"<64
//   hex>","kind":"login","uid":1000,"peer":"…","<field>":"<text>",…}
//
// hash = BLAKE2b-256(key = "troupe/audit/v1", the line's bytes without its newline). A checkpoint
// is a record whose signature covers `seq u64 ‖ utc_ns i64 ‖ prev[32]`; it vouches for all before
// it.

/// One thing to record. Ids only: never a token, a key's secret or a job's environment.
struct audit_event {
  std::string_view kind; ///< 1 to 32 characters of [a-z_]; "checkpoint" and "repaired" are taken
  std::optional<std::uint32_t> uid;
  std::string_view peer;                                        ///< cut at 256 bytes
  std::vector<std::pair<std::string_view, std::string>> fields; ///< at most 16; values cut at 512
};

inline constexpr std::size_t audit_line_bytes_max = 64 * 1024;
inline constexpr std::uint64_t audit_checkpoint_every = 1024;
/// Different refusals counted at once; further ones are counted together.
inline constexpr std::size_t audit_refusals_apart_max = 4096;

/// Records kept in memory while the disk takes none; further ones are counted.
inline constexpr std::size_t audit_deferred_max = 4096;

/// Appends to the log. One writer per file (locked); not thread-safe.
///
/// After a failed write the file is cut back to whole records; after a failed sync all that had not
/// been synced is written again, since what a disk reported as lost may be gone. Both are tried
/// again, soon at first, then every few seconds; the first record after that is "resumed" and says
/// how many were lost.
class audit_log {
public:
  /// Opens or creates (0600). A torn last line, left by a crash, is cut off and that is recorded.
  static expected<audit_log> open(const std::string& path, signing_key key,
                                  const clock_source& clock);

  /// Appends one record. An error (disk full) leaves the file as it was; whoever grants something
  /// must not grant it then.
  expected<void> append(const audit_event& event);

  /// The same for what has happened already, or must be possible without a disk: while that takes
  /// nothing, the record waits in memory. True when it is in the file.
  bool append_or_defer(const audit_event& event);

  /// Counts a refusal: the first of its kind in a second is recorded at once, the others as one
  /// record with their count when the second is over.
  expected<void> refused(std::string_view peer, std::optional<std::uint32_t> uid, reason why,
                         std::string_view action);
  /// Records the counts of seconds that are over; called from a timer, and by every append.
  expected<void> flush_refusals();

  /// Signs the chain's head and syncs; done by itself every 1024 records.
  expected<void> checkpoint();

  /// Refuses (audit_unavailable) while the disk takes nothing: ask before granting anything. Tries
  /// again first, when it is time to.
  checked<void> accepts();

  /// Called with the head that each checkpoint signed, once that is on the disk: to be told where
  /// whoever may write the file may not write.
  using on_signed_head = std::function<void(std::uint64_t sequence, const digest& head)>;
  void tell_heads(on_signed_head tell) { tell_ = std::move(tell); }

  std::uint64_t last_sequence() const { return sequence_; }
  const digest& head() const { return head_; }

private:
  struct counted {
    std::int64_t second = 0;
    std::uint64_t count = 0; ///< since the one recorded at once
    std::optional<std::uint32_t> uid;
  };

  audit_log(std::string path, unique_fd fd, signing_key key, const clock_source& clock)
      : path_{std::move(path)}, fd_{std::move(fd)}, key_{key}, clock_{&clock} {}

  struct deferred {
    utc_ns at = 0;
    std::string kind;
    std::optional<std::uint32_t> uid;
    std::string peer;
    std::vector<std::pair<std::string, std::string>> fields;
  };

  expected<void> recover();
  void defer(const audit_event& event);
  bool try_again();
  bool write_resumed();
  bool write_deferred();
  bool repair();
  void failed();
  bool sync();
  tl::unexpected<error> unavailable() const;
  expected<void> write_record(const audit_event& event, utc_ns now);
  expected<void> write_line(const std::string& line);
  std::string begin_line(std::string_view kind, utc_ns now) const;

  std::string path_;
  unique_fd fd_;
  signing_key key_;
  const clock_source* clock_;
  std::uint64_t sequence_ = 0;
  std::uint64_t since_checkpoint_ = 0;
  std::uint64_t size_ = 0; ///< bytes of whole lines
  digest head_{};
  bool healthy_ = true;
  bool trying_ = false;
  boot_ns again_at_ = 0; ///< while not healthy: not tried again before
  boot_ns pause_ = 0;
  std::string unsynced_; ///< the file's bytes since the last sync
  std::deque<deferred> deferred_;
  std::uint64_t lost_ = 0; ///< that did not fit there
  on_signed_head tell_;
  std::map<std::pair<std::string, reason>, counted> refusals_;
};

/// What verifying a log found.
struct audit_report {
  std::uint64_t records = 0;       ///< good ones, from the start
  std::uint64_t checkpoints = 0;   ///< with a good signature
  std::uint64_t last_signed = 0;   ///< sequence number of the last good checkpoint
  std::uint64_t broken_record = 0; ///< the first broken one (its place, from 1); 0 if none is
  std::string why;                 ///< what is wrong with it
  bool torn_tail = false;          ///< the last line has no end: written during a crash, or now
  digest head{};                   ///< hash of the last good record

  bool good() const { return broken_record == 0; }
};

/// Reads the whole log and checks every hash and checkpoint; `keys` may include retired ones.
expected<audit_report> verify_audit(const std::string& path, std::span<const keyring_entry> keys);

/// The last `n` (≤ 10,000) records' lines, oldest first.
expected<std::vector<std::string>> tail_audit(const std::string& path, std::size_t n);

} // namespace troupe::auth
