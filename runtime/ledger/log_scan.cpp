// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/log_scan.hpp"

#include "base/bytes.hpp"
#include "base/unique_fd.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
#include <vector>

namespace troupe::ledger {

namespace {

constexpr std::uint32_t magic_little = 0x377f0682;
constexpr std::uint32_t magic_big = 0x377f0683;
constexpr std::uint32_t page_bytes_max = 65'536;
constexpr off_t salts_at = 16;
constexpr int looks_max = 16;

std::uint32_t big(const std::uint8_t* from) {
  return (std::uint32_t{from[0]} << 24) | (std::uint32_t{from[1]} << 16) |
         (std::uint32_t{from[2]} << 8) | from[3];
}

std::uint32_t little(const std::uint8_t* from) {
  return (std::uint32_t{from[3]} << 24) | (std::uint32_t{from[2]} << 16) |
         (std::uint32_t{from[1]} << 8) | from[0];
}

/// SQLite's running checksum of a log.
struct checksum {
  std::uint32_t one = 0, two = 0;

  void add(const std::uint8_t* from, std::size_t size, bool is_big) {
    for (const auto* end = from + size; from < end; from += 8) {
      one += (is_big ? big(from) : little(from)) + two;
      two += (is_big ? big(from + 4) : little(from + 4)) + one;
    }
  }
  bool is(const std::uint8_t* from) const { return one == big(from) && two == big(from + 4); }
};

/// Reads all of `size` bytes; false at the end of the file and on an error.
bool read_all(int fd, std::uint8_t* to, std::size_t size, std::uint64_t at) {
  while (size > 0) {
    const auto got = ::pread(fd, to, size, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    to += got;
    size -= static_cast<std::size_t>(got);
    at += static_cast<std::uint64_t>(got);
  }
  return true;
}

bool is_zero(const std::uint8_t* from, std::size_t size) {
  return std::all_of(from, from + size, [](std::uint8_t each) { return each == 0; });
}

void scan_frames(int log, const std::uint8_t* header, std::uint32_t page_bytes, checksum sum,
                 log_scan& into) {
  const bool is_big = big(header) == magic_big;
  std::vector<std::uint8_t> frame(log_frame_header_bytes + page_bytes);
  bool chained = true;
  for (auto at = log_header_bytes; read_all(log, frame.data(), frame.size(), at);
       at += frame.size()) {
    const bool of_this_log = std::memcmp(frame.data() + 8, header + salts_at, 8) == 0;
    const bool ends = big(frame.data() + 4) != 0;
    if (chained) {
      sum.add(frame.data(), 8, is_big);
      sum.add(frame.data() + log_frame_header_bytes, page_bytes, is_big);
      chained = of_this_log && big(frame.data()) != 0 && sum.is(frame.data() + 16);
      if (chained) {
        ++into.frames;
        into.kept = ends ? into.frames : into.kept;
        continue;
      }
    }
    into.ends_lost += of_this_log && ends;
  }
}

} // namespace

std::string log_scan::sentence(const std::string& path) const {
  const auto text = "the log " + path + "-wal is damaged: ";
  return header_good ? text + "frame " + std::to_string(frames + 1) + " cannot be read, and " +
                           std::to_string(ends_lost) + " transactions behind it are lost"
                     : text + "its header cannot be read, and nothing that is in it";
}

log_salts read_log_salts(int log) {
  log_salts salts{};
  if (!read_all(log, salts.data(), salts.size(), salts_at))
    salts = {};
  return salts;
}

expected<log_scan> scan_log(const std::string& path) {
  const auto name = path + "-wal";
  log_scan found;
  const unique_fd log{::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)};
  if (!log && errno == ENOENT)
    return found;
  if (!log)
    return fail(errc::storage, "cannot open the log " + name + ": " + std::strerror(errno));
  std::array<std::uint8_t, log_header_bytes> header{};
  if (!read_all(log.get(), header.data(), header.size(), 0) ||
      is_zero(header.data(), header.size()))
    return found;
  found.empty = false;
  std::memcpy(found.salts.data(), header.data() + salts_at, found.salts.size());
  const auto magic = big(header.data());
  auto page_bytes = big(header.data() + 8);
  checksum sum;
  sum.add(header.data(), 24, magic == magic_big);
  found.header_good = (magic == magic_little || magic == magic_big) && sum.is(header.data() + 24) &&
                      page_bytes >= 512 && page_bytes <= page_bytes_max &&
                      (page_bytes & (page_bytes - 1)) == 0;
  if (found.header_good)
    scan_frames(log.get(), header.data(), page_bytes, sum, found);
  return found;
}

expected<log_scan> scan_log_in_use(const std::string& path) {
  auto found = scan_log(path);
  for (int looks = 1; looks < looks_max && found && found->damaged(); ++looks) {
    const auto before = *found;
    found = scan_log(path);
    if (found && found->damaged() && found->frames == before.frames && found->salts == before.salts)
      break;
  }
  return found;
}

} // namespace troupe::ledger
