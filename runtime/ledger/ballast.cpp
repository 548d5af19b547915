// SPDX-License-Identifier: Apache-2.0
#include "runtime/ledger/ballast.hpp"

#include "base/unique_fd.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::ledger {

ballast::ballast(std::string path, std::uint64_t size_bytes)
    : path_{std::move(path)}, size_bytes_{size_bytes} {
  take();
}

bool ballast::take() {
  if (size_bytes_ == 0)
    held_ = true;
  if (held_)
    return true;
  const unique_fd file{::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file)
    return false;
  held_ = ::posix_fallocate(file.get(), 0, static_cast<off_t>(size_bytes_)) == 0;
  // A part of the space must not be kept from the ledger.
  if (!held_)
    ::unlink(path_.c_str());
  return held_;
}

void ballast::release() {
  if (size_bytes_ == 0)
    return;
  ::unlink(path_.c_str());
  held_ = false;
}

} // namespace troupe::ledger
