// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/storm/small_disk.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>
#include <vector>

namespace troupe::storm {

small_disk::small_disk(bool wanted) {
  char folder[] = "/tmp/troupe-disk-XXXXXX";
  if (!wanted || ::geteuid() != 0 || ::mkdtemp(folder) == nullptr)
    return;
  if (::mount("tmpfs", folder, "tmpfs", 0, "size=64m,mode=0700") == 0)
    path_ = folder;
  else
    ::rmdir(folder); // a container may forbid it
}

small_disk::~small_disk() {
  if (path_.empty() || keeps_)
    return;
  ::umount2(path_.c_str(), MNT_DETACH);
  ::rmdir(path_.c_str());
}

void small_disk::fill() const {
  const int file = ::open(filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0)
    return;
  const std::vector<char> zeros(65'536);
  for (auto size = zeros.size(); size > 0;) {
    const auto done = ::write(file, zeros.data(), size);
    if (done < 0 && errno != EINTR)
      size /= 2; // the last bytes, too
  }
  ::close(file);
}

void small_disk::make_room() const {
  ::unlink(filler().c_str());
}

} // namespace troupe::storm
