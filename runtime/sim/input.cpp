// SPDX-License-Identifier: Apache-2.0
#include "runtime/sim/input.hpp"

#include <cerrno>
#include <cstring>
#include <memory>
#include <sys/stat.h>
#include <vector>
#include <zlib.h>

namespace troupe::sim {

namespace {

constexpr unsigned chunk_bytes = 256 * 1024;

struct close_file {
  void operator()(gzFile file) const { gzclose_r(file); }
};
using gz_file = std::unique_ptr<gzFile_s, close_file>;

expected<gz_file> open_log(const std::string& path) {
  struct stat about {};
  // A directory opens, and fails only when it is read.
  if (::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode))
    return fail(errc::invalid, "cannot read " + path + ": it is a directory; name a log in it");
  errno = 0;
  gz_file file{gzopen(path.c_str(), "rbe")};
  if (!file)
    return fail(errc::not_found, "cannot open " + path + ": " +
                                     (errno != 0 ? std::strerror(errno) : "out of memory"));
  gzbuffer(file.get(), chunk_bytes);
  return file;
}

error damage(const std::string& path, gzFile file) {
  int code = Z_OK;
  const char* text = gzerror(file, &code);
  if (code == Z_ERRNO)
    return {errc::storage, "cannot read " + path + ": " + std::strerror(errno)};
  if (code == Z_BUF_ERROR)
    return {errc::storage, path + " is cut off: its gzip data end early; fetch it again"};
  return {errc::storage, path + " is damaged gzip data (" + text + "); fetch it again"};
}

} // namespace

expected<void> read_file(const std::string& path,
                         const std::function<void(std::string_view)>& take) {
  auto file = open_log(path);
  if (!file)
    return tl::unexpected<error>{file.error()};
  std::vector<char> chunk(chunk_bytes);
  for (;;) {
    auto count = gzread(file->get(), chunk.data(), chunk_bytes);
    if (count < 0)
      return tl::unexpected<error>{damage(path, file->get())};
    if (count == 0)
      break;
    take({chunk.data(), static_cast<std::size_t>(count)});
  }
  // A file cut off within its compressed data ends like any other until it is asked.
  int code = Z_OK;
  gzerror(file->get(), &code);
  if (code != Z_OK)
    return tl::unexpected<error>{damage(path, file->get())};
  return {};
}

expected<swf_log> read_swf_file(const std::string& path, const read_progress& progress) {
  swf_reader reader;
  auto fine = read_file(path, [&](std::string_view bytes) {
    reader.feed(bytes);
    if (progress)
      progress(reader.jobs());
  });
  if (!fine)
    return tl::unexpected<error>{fine.error()};
  return reader.finish();
}

} // namespace troupe::sim
