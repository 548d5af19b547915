// SPDX-License-Identifier: Apache-2.0
#include "auth/audit.hpp"

#include "auth/audit_line.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

namespace troupe::auth {

using namespace audit_detail;

namespace {

constexpr std::size_t fields_max = 16;
constexpr std::size_t value_bytes_max = 512;
constexpr std::size_t peer_bytes_max = 256;
/// What is not synced is kept in memory, too: so much of it, then it is synced.
constexpr std::size_t unsynced_bytes_max = 1u << 20;
constexpr boot_ns pause_min_ns = ns_per_s / 4;
constexpr boot_ns pause_max_ns = 8 * ns_per_s;

std::string because(const char* what, const std::string& path) {
  return std::string{what} + " the audit log '" + path + "': " + std::strerror(errno);
}

bool plain_name(std::string_view name) {
  if (name.empty() || name.size() > 32)
    return false;
  for (char c : name)
    if ((c < 'a' || c > 'z') && c != '_')
      return false;
  return true;
}

bool read_at(int fd, std::uint64_t offset, char* to, std::size_t size) {
  while (size > 0) {
    auto n = ::pread(fd, to, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    to += n;
    size -= static_cast<std::size_t>(n);
    offset += static_cast<std::uint64_t>(n);
  }
  return true;
}

/// The offset behind the last newline before `end`; 0 if there is none, nothing on a read error.
std::optional<std::uint64_t> line_start_before(int fd, std::uint64_t end) {
  char block[4096];
  while (end > 0) {
    auto size = std::min<std::uint64_t>(sizeof block, end);
    if (!read_at(fd, end - size, block, size))
      return std::nullopt;
    auto found = std::string_view{block, size}.rfind('\n');
    if (found != std::string_view::npos)
      return end - size + found + 1;
    end -= size;
  }
  return 0;
}

expected<unique_fd> open_checked(const std::string& path, int flags) {
  unique_fd fd{::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600)};
  if (!fd)
    return fail(errno == ENOENT ? errc::not_found : errc::storage, because("cannot open", path));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0)
    return fail(errc::storage, because("cannot examine", path));
  if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return fail(errc::refused, "the audit log '" + path +
                                   "' must be a regular file of the running user, closed to "
                                   "others; run: chmod 600 '" +
                                   path + "'");
  return fd;
}

} // namespace

expected<audit_log> audit_log::open(const std::string& path, signing_key key,
                                    const clock_source& clock) {
  require_sodium();
  auto fd = open_checked(path, O_RDWR | O_CREAT);
  if (!fd)
    return tl::unexpected{fd.error()};
  if (::flock(fd->get(), LOCK_EX | LOCK_NB) != 0)
    return fail(errc::conflict, "another process writes the audit log '" + path + "'");
  audit_log log{path, std::move(*fd), key, clock};
  if (auto ready = log.recover(); !ready)
    return tl::unexpected{ready.error()};
  return log;
}

// Finds the end of the chain. Only what follows the last newline can be torn by a crash: a record
// is one write, and a line that has its end was written whole.
expected<void> audit_log::recover() {
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0)
    return fail(errc::storage, because("cannot examine", path_));
  auto end = static_cast<std::uint64_t>(info.st_size);
  auto whole = line_start_before(fd_.get(), end);
  if (!whole)
    return fail(errc::storage, because("cannot read", path_));
  auto torn = end - *whole;
  if (torn > 0 && ::ftruncate(fd_.get(), static_cast<off_t>(*whole)) != 0)
    return fail(errc::storage, because("cannot repair", path_));
  size_ = *whole;
  if (size_ > 0) {
    auto start = line_start_before(fd_.get(), size_ - 1);
    if (!start || size_ - *start > audit_line_bytes_max)
      return fail(errc::storage, "the last record of the audit log '" + path_ +
                                     "' cannot be read; run: troupe audit verify");
    std::string line(size_ - *start - 1, '\0');
    if (!read_at(fd_.get(), *start, line.data(), line.size()))
      return fail(errc::storage, because("cannot read", path_));
    auto head = parse_head(line);
    if (!head)
      return fail(errc::storage, "the last record of the audit log '" + path_ +
                                     "' is damaged; run: troupe audit verify, then move the file "
                                     "aside");
    sequence_ = head->sequence;
    head_ = line_hash(line);
  }
  if (torn == 0)
    return {};
  // A disk that is full now is no reason not to start.
  audit_event repaired{"repaired", {}, {}, {{"bytes_cut", std::to_string(torn)}}};
  if (!write_record(repaired, clock_->utc()))
    defer(repaired);
  return {};
}

std::string audit_log::begin_line(std::string_view kind, utc_ns now) const {
  return format_head(sequence_ + 1, now, head_, kind);
}

/// All of it, at this place; false with errno.
static bool write_at(int fd, std::string_view text, std::uint64_t offset) {
  while (!text.empty()) {
    const auto n = ::pwrite(fd, text.data(), text.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0) {
      errno = n == 0 ? ENOSPC : errno;
      return false;
    }
    text.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return true;
}

expected<void> audit_log::write_line(const std::string& line) {
  auto ended = line + "\n";
  if (!write_at(fd_.get(), ended, size_)) {
    const std::string why{std::strerror(errno)};
    // Half a record must not stay: the next one would make it a broken line.
    const bool restored = ::ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0;
    if (!trying_)
      failed();
    return fail(errc::storage, "the audit log '" + path_ + "' does not take a record (" + why +
                                   (restored ? ")" : "), and its end could not be restored") +
                                   "; nothing new is granted until there is space");
  }
  size_ += ended.size();
  unsynced_ += ended;
  head_ = line_hash(line);
  ++sequence_;
  ++since_checkpoint_;
  return {};
}

void audit_log::failed() {
  healthy_ = false;
  pause_ = std::clamp(pause_ * 2, pause_min_ns, pause_max_ns);
  again_at_ = clock_->boot() + pause_;
}

/// After this what was written is on the disk.
bool audit_log::sync() {
  if (::fdatasync(fd_.get()) != 0) {
    if (!trying_)
      failed();
    return false;
  }
  unsynced_.clear();
  return true;
}

/// Brings the file to what it should be, whatever a failed write or sync has left of it.
bool audit_log::repair() {
  return write_at(fd_.get(), unsynced_, size_ - unsynced_.size()) &&
         ::ftruncate(fd_.get(), static_cast<off_t>(size_)) == 0 && sync();
}

/// Whether the disk takes records again; asked at most every so often.
bool audit_log::try_again() {
  if (healthy_ || trying_)
    return true;
  if (clock_->boot() < again_at_)
    return false;
  trying_ = true;
  healthy_ = repair() && write_resumed() && write_deferred() && sync();
  trying_ = false;
  if (healthy_)
    pause_ = 0;
  else
    failed();
  return healthy_;
}

bool audit_log::write_resumed() {
  const auto lost = std::exchange(lost_, 0);
  const audit_event resumed{
      "resumed",
      {},
      {},
      {{"deferred", std::to_string(deferred_.size())}, {"lost", std::to_string(lost)}}};
  if (write_record(resumed, clock_->utc()))
    return true;
  lost_ = lost;
  return false;
}

bool audit_log::write_deferred() {
  while (!deferred_.empty()) {
    const auto& first = deferred_.front();
    audit_event event{first.kind, first.uid, first.peer, {}};
    for (const auto& [name, value] : first.fields)
      event.fields.emplace_back(name, value);
    if (event.fields.size() < fields_max)
      event.fields.emplace_back("at_utc_ns", std::to_string(first.at));
    if (!write_record(event, clock_->utc()))
      return false;
    deferred_.pop_front();
  }
  return true;
}

void audit_log::defer(const audit_event& event) {
  if (deferred_.size() >= audit_deferred_max) {
    ++lost_;
    return;
  }
  deferred one{clock_->utc(), std::string{event.kind}, event.uid, std::string{event.peer}, {}};
  for (const auto& [name, value] : event.fields)
    one.fields.emplace_back(std::string{name}, value.substr(0, value_bytes_max));
  deferred_.push_back(std::move(one));
}

tl::unexpected<error> audit_log::unavailable() const {
  return fail(errc::storage, "the audit log '" + path_ +
                                 "' takes no records; nothing new is granted until there is "
                                 "space on its disk");
}

expected<void> audit_log::write_record(const audit_event& event, utc_ns now) {
  if (!plain_name(event.kind) || event.fields.size() > fields_max)
    return fail(errc::internal, "an audit record's kind is a word of [a-z_] up to 32 characters, "
                                "with at most 16 fields");
  auto line = begin_line(event.kind, now);
  if (event.uid)
    line.append(",\"uid\":").append(std::to_string(*event.uid));
  if (!event.peer.empty()) {
    line += ",\"peer\":";
    append_quoted(line, event.peer, peer_bytes_max);
  }
  for (const auto& [name, value] : event.fields) {
    if (!plain_name(name))
      return fail(errc::internal, "the name of an audit field is a word of [a-z_]");
    line.append(",\"").append(name).append("\":");
    append_quoted(line, value, value_bytes_max);
  }
  if (auto written = write_line(line += '}'); !written)
    return written;
  const bool much =
      since_checkpoint_ >= audit_checkpoint_every || unsynced_.size() >= unsynced_bytes_max;
  return much ? checkpoint() : expected<void>{};
}

expected<void> audit_log::append(const audit_event& event) {
  if (event.kind == "checkpoint" || event.kind == "repaired" || event.kind == "resumed")
    return fail(errc::internal, "the audit log writes its checkpoints and repairs itself");
  if (!try_again())
    return unavailable();
  if (auto flushed = flush_refusals(); !flushed)
    return flushed;
  return write_record(event, clock_->utc());
}

bool audit_log::append_or_defer(const audit_event& event) {
  if (append(event))
    return true;
  defer(event);
  return false;
}

expected<void> audit_log::refused(std::string_view peer, std::optional<std::uint32_t> uid,
                                  reason why, std::string_view action) {
  auto now = clock_->utc();
  if (!try_again()) {
    ++lost_;
    return unavailable();
  }
  if (auto flushed = flush_refusals(); !flushed)
    return flushed;
  std::pair key{std::string{peer.substr(0, peer_bytes_max)}, why};
  if (refusals_.size() >= audit_refusals_apart_max && !refusals_.contains(key))
    key = {"(others)", why};
  auto [it, first] = refusals_.try_emplace(key, counted{now / ns_per_s, 0, uid});
  if (!first) {
    ++it->second.count;
    return {};
  }
  return write_record(
      {"refused",
       uid,
       key.first,
       {{"reason", to_string(why)}, {"action", std::string{action}}, {"count", "1"}}},
      now);
}

expected<void> audit_log::flush_refusals() {
  if (!try_again())
    return unavailable();
  auto now = clock_->utc();
  for (auto it = refusals_.begin(); it != refusals_.end();) {
    if (it->second.second == now / ns_per_s) {
      ++it;
      continue;
    }
    if (it->second.count > 0) {
      audit_event more{"refused",
                       it->second.uid,
                       it->first.first,
                       {{"reason", to_string(it->first.second)},
                        {"second", std::to_string(it->second.second)},
                        {"count", std::to_string(it->second.count)}}};
      if (auto written = write_record(more, now); !written)
        return written;
    }
    it = refusals_.erase(it);
  }
  return {};
}

expected<void> audit_log::checkpoint() {
  if (!healthy_ && !try_again())
    return unavailable();
  if (sequence_ == 0 || since_checkpoint_ == 0)
    return {};
  auto now = clock_->utc();
  const auto signed_head = head_;
  auto body = checkpoint_body(sequence_ + 1, now, head_);
  auto line = begin_line("checkpoint", now) +
              format_checkpoint({key_.key_id, key_.pair->sign(domain::audit, body)});
  if (auto written = write_line(line); !written)
    return written;
  since_checkpoint_ = 0;
  if (!sync())
    return fail(errc::storage, because("cannot sync", path_) + "; it is tried again");
  if (tell_)
    tell_(sequence_, signed_head);
  return {};
}

checked<void> audit_log::accepts() {
  if (try_again())
    return {};
  return refuse(reason::audit_unavailable, unavailable().value().text);
}

// -- reading ----------------------------------------------------------------------------------

namespace {

/// Hands out a file's lines, with bounded memory.
class line_reader {
public:
  explicit line_reader(int fd) : fd_{fd} {}

  enum class result { line, end, torn, too_long, failed };

  result next(std::string& line) {
    for (;;) {
      auto found = buffer_.find('\n', from_);
      if (found != std::string::npos) {
        line.assign(buffer_, from_, found - from_);
        from_ = found + 1;
        return result::line;
      }
      buffer_.erase(0, from_);
      from_ = 0;
      if (buffer_.size() > audit_line_bytes_max)
        return result::too_long;
      char block[65'536];
      auto n = ::read(fd_, block, sizeof block);
      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return result::failed;
      if (n == 0)
        return buffer_.empty() ? result::end : result::torn;
      buffer_.append(block, static_cast<std::size_t>(n));
    }
  }

private:
  int fd_;
  std::string buffer_;
  std::size_t from_ = 0;
};

const char* check_checkpoint(const line_head& head, std::span<const keyring_entry> keys) {
  auto fields = parse_checkpoint(head.rest);
  if (!fields)
    return "is not a well-formed checkpoint";
  for (const auto& entry : keys)
    if (entry.key_id == fields->key_id)
      return verify_signature(domain::audit, checkpoint_body(head.sequence, head.at, head.previous),
                              fields->sig.data(), entry.key.data())
                 ? nullptr
                 : "has a signature that does not verify";
  return "is signed by a key that is not in the keyring";
}

const char* check_line(std::string_view line, audit_report& report,
                       std::span<const keyring_entry> keys) {
  auto head = parse_head(line);
  if (!head)
    return "is not an audit record";
  if (head->sequence != report.records + 1)
    return "does not follow in number: records are missing or moved";
  if (head->previous != report.head)
    return "does not hold the hash of the one before it: that one or this one was altered";
  if (head->kind == "checkpoint") {
    if (const auto* wrong = check_checkpoint(*head, keys))
      return wrong;
    ++report.checkpoints;
    report.last_signed = head->sequence;
  }
  ++report.records;
  report.head = line_hash(line);
  return nullptr;
}

} // namespace

expected<audit_report> verify_audit(const std::string& path, std::span<const keyring_entry> keys) {
  require_sodium();
  auto fd = open_checked(path, O_RDONLY);
  if (!fd)
    return tl::unexpected{fd.error()};
  audit_report report;
  line_reader lines{fd->get()};
  std::string line;
  for (;;) {
    auto got = lines.next(line);
    if (got == line_reader::result::failed)
      return fail(errc::storage, because("cannot read", path));
    report.torn_tail = got == line_reader::result::torn;
    if (got == line_reader::result::end || got == line_reader::result::torn)
      return report;
    const auto* wrong = got == line_reader::result::too_long ? "is longer than any record"
                                                             : check_line(line, report, keys);
    if (wrong != nullptr) {
      report.broken_record = report.records + 1;
      report.why = "record " + std::to_string(report.broken_record) + " " + wrong;
      return report;
    }
  }
}

expected<std::vector<std::string>> tail_audit(const std::string& path, std::size_t n) {
  auto fd = open_checked(path, O_RDONLY);
  if (!fd)
    return tl::unexpected{fd.error()};
  struct stat info {};
  if (::fstat(fd->get(), &info) != 0)
    return fail(errc::storage, because("cannot examine", path));
  auto end = line_start_before(fd->get(), static_cast<std::uint64_t>(info.st_size));
  std::vector<std::string> lines;
  while (end && *end > 0 && lines.size() < std::min<std::size_t>(n, 10'000)) {
    auto start = line_start_before(fd->get(), *end - 1);
    if (!start || *end - *start > audit_line_bytes_max)
      return fail(errc::storage, "a record of the audit log '" + path +
                                     "' cannot be read; run: troupe audit verify");
    std::string line(*end - *start - 1, '\0');
    if (!read_at(fd->get(), *start, line.data(), line.size()))
      return fail(errc::storage, because("cannot read", path));
    lines.push_back(std::move(line));
    end = start;
  }
  return std::vector<std::string>{lines.rbegin(), lines.rend()};
}

} // namespace troupe::auth
