// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/head.hpp"

#include "base/bytes.hpp"
#include "runtime/ledger/connection.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace troupe::ledger {

namespace {

// A slot: magic u64 · version u32 = 1 · 0 u32 · turn u64 · ledger u64 · last_seq u64 ·
// highest_job u64 · checksum u64 of all before it (FNV-1a). Little endian; slots stand at 0 and
// 4096.
constexpr std::uint64_t magic = 0x444145484c505254; // "TRPLHEAD"
constexpr std::uint32_t version = 1;
constexpr std::size_t slot_bytes = 56;
constexpr off_t slot_distance = 4096;

using slot = std::array<std::uint8_t, slot_bytes>;

std::uint64_t sum_of(const slot& from) {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (std::size_t i = 0; i + 8 < slot_bytes; ++i)
    sum = (sum ^ from[i]) * 0x100000001b3;
  return sum;
}

slot encode(const head& from, std::uint64_t turn) {
  slot to{};
  store_le(to.data(), magic);
  store_le(to.data() + 8, version);
  store_le(to.data() + 16, turn);
  store_le(to.data() + 24, from.ledger);
  store_le(to.data() + 32, from.last_seq);
  store_le(to.data() + 40, from.highest_job);
  store_le(to.data() + 48, sum_of(to));
  return to;
}

struct found_head {
  head what;
  std::uint64_t turn = 0;
};

std::optional<found_head> decode(const slot& from) {
  if (load_le<std::uint64_t>(from.data()) != magic ||
      load_le<std::uint32_t>(from.data() + 8) != version ||
      load_le<std::uint64_t>(from.data() + 48) != sum_of(from))
    return std::nullopt;
  return found_head{{load_le<std::uint64_t>(from.data() + 24),
                     load_le<std::uint64_t>(from.data() + 32),
                     load_le<std::uint64_t>(from.data() + 40)},
                    load_le<std::uint64_t>(from.data() + 16)};
}

bool write_slot(int file, const head& what, std::uint64_t turn) {
  const auto bytes = encode(what, turn);
  const auto at = static_cast<off_t>(turn % 2) * slot_distance;
  return ::pwrite(file, bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size());
}

std::optional<found_head> newest(int file) {
  std::optional<found_head> best;
  for (const off_t at : {off_t{0}, slot_distance}) {
    slot bytes{};
    if (::pread(file, bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size()))
      continue;
    const auto one = decode(bytes);
    if (one && (!best || best->turn < one->turn))
      best = one;
  }
  return best;
}

unique_fd open_file(const std::string& path, int flags) {
  return unique_fd{::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, 0600)};
}

tl::unexpected<error> unreadable(const std::string& path) {
  return fail(errc::storage, path + " cannot be read; it tells how far the ledger beside it had "
                                    "come. If that ledger is whole ('troupe ledger check' says so),"
                                    " 'troupe ledger rebuild' makes it anew");
}

} // namespace

expected<std::optional<head>> head_file::read(const std::string& path) {
  const auto file = open_file(path, O_RDONLY);
  if (!file && errno == ENOENT)
    return std::nullopt;
  const auto found = file ? newest(file.get()) : std::nullopt;
  if (!found)
    return unreadable(path);
  return found->what;
}

expected<head_file> head_file::make(const std::string& path, const head& now) {
  const auto fresh = path + ".new";
  auto file = open_file(fresh, O_RDWR | O_CREAT | O_TRUNC);
  if (!file || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0 || !write_slot(file.get(), now, 0) ||
      !write_slot(file.get(), now, 1) || ::fsync(file.get()) != 0 ||
      ::rename(fresh.c_str(), path.c_str()) != 0 || !sync_directory(directory_of(path)))
    return fail(errc::storage, "cannot write " + path + ": " + std::strerror(errno));
  return head_file{std::move(file), 1};
}

expected<head_file> head_file::open(const std::string& path) {
  auto file = open_file(path, O_RDWR);
  const auto found = file ? newest(file.get()) : std::nullopt;
  if (!found)
    return unreadable(path);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0)
    return fail(errc::conflict,
                "another process has the ledger of " + path + " open; stop it first");
  return head_file{std::move(file), found->turn};
}

bool head_file::note(const head& now) {
  if (!file_ || !write_slot(file_.get(), now, turn_ + 1))
    return false;
  ++turn_;
  return true;
}

bool head_file::sync() {
  return file_ && ::fdatasync(file_.get()) == 0;
}

} // namespace troupe::ledger
