// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/rank_output.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::shepherd {

namespace {

bool is_pipe(int fd) {
  struct stat about {};
  return ::fstat(fd, &about) == 0 && S_ISFIFO(about.st_mode);
}

/// A pipe is opened anew: not to wait on it is then a property of this side alone. A file is shared
/// as it is: one offset for both, or they would write over each other.
unique_fd open_own(unique_fd lent) {
  if (!is_pipe(lent.get()))
    return lent;
  const auto path = "/proc/self/fd/" + std::to_string(lent.get());
  unique_fd own{::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC)};
  return own ? std::move(own) : std::move(lent);
}

} // namespace

rank_output::rank_output(poller& poll, unique_fd lent) : poll_{poll} {
  may_block_ = is_pipe(lent.get());
  fd_ = open_own(std::move(lent));
}

rank_output::~rank_output() {
  if (watched_)
    poll_.remove(fd_.get());
  while (!waiting_.empty())
    finish_first(false);
}

void rank_output::write(std::string_view text, written done) {
  if (!fd_ || waiting_bytes_ + text.size() > waiting_bytes_max)
    return done(false);
  waiting_bytes_ += text.size();
  waiting_.push_back({std::string{text}, 0, std::move(done)});
  if (!watched_)
    write_some();
}

void rank_output::write_some() {
  bool full = false;
  while (!waiting_.empty() && !full) {
    auto& first = waiting_.front();
    const auto left = std::string_view{first.text}.substr(first.sent);
    const auto done = ::write(fd_.get(), left.data(), left.size());
    if (done >= 0) {
      first.sent += static_cast<std::size_t>(done);
      if (first.sent == first.text.size())
        finish_first(true);
    } else if (errno == EAGAIN && may_block_) {
      full = true;
    } else if (errno != EINTR) {
      finish_first(false); // nobody reads it, or the disk is full
    }
  }
  if (full != watched_) {
    if (!full)
      poll_.remove(fd_.get());
    else if (!poll_.add(
                 fd_.get(), [this](std::uint32_t) { write_some(); }, EPOLLOUT))
      return; // the next text tries again
    watched_ = full;
  }
}

void rank_output::finish_first(bool good) {
  auto first = std::move(waiting_.front());
  waiting_.pop_front();
  waiting_bytes_ -= first.text.size();
  first.done(good);
}

} // namespace troupe::shepherd
