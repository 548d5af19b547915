// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/stub_channel.hpp"

#include "base/bytes.hpp"
#include "tools/shepherd/say.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace troupe::shepherd {

namespace {

constexpr int hellos_per_turn = 64;

/// The descriptors that came along, owned; a well-formed hello brings three.
std::vector<unique_fd> descriptors_of(msghdr& message) {
  std::vector<unique_fd> all;
  for (auto* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
      continue;
    const auto count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      all.emplace_back(fd);
    }
  }
  return all;
}

} // namespace

stub_channel::stub_channel(int fd, poller& poll, receiver receive)
    : fd_{fd}, poll_{poll}, receive_{std::move(receive)} {
  watched_ = poll_.add(
      fd_,
      [this](std::uint32_t events) {
        const bool ended = (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0;
        if (!take_some() && ended)
          poll_.remove(fd_); // no launcher and no stub is left
      },
      EPOLLIN | EPOLLRDHUP);
}

stub_channel::~stub_channel() {
  poll_.remove(fd_);
}

/// Takes what is there, up to a bound; false where it came upon nothing, or something empty.
bool stub_channel::take_some() {
  for (int i = 0; i < hellos_per_turn; ++i) {
    stub::hello who;
    iovec part{&who, sizeof who};
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto got = ::recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
      return false;
    auto descriptors = descriptors_of(message); // an empty packet may bring some, too
    if (got == 0)
      return false;
    const bool whole = got == sizeof who && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
    if (!whole || who.magic != stub::hello_magic || descriptors.size() != stub::hello_descriptors) {
      say("something that is no stub spoke on the stub channel: ignored");
      continue;
    }
    receive_(
        {who, std::move(descriptors[0]), std::move(descriptors[1]), std::move(descriptors[2])});
  }
  return true;
}

bool answer_stub(int fd, const stub_answer& what) {
  std::string bytes(sizeof(stub::answer_head), '\0');
  for (const auto* texts : {&what.command, &what.variables})
    for (const auto& each : *texts)
      bytes.append(each).push_back('\0');
  if (bytes.size() > stub::environment_bytes_max)
    return false;
  auto* head = reinterpret_cast<std::uint8_t*>(bytes.data());
  store_le(head, static_cast<std::uint32_t>(bytes.size() - sizeof(stub::answer_head)));
  store_le(head + 4, static_cast<std::uint32_t>(what.command.size()));
  store_le(head + 8, what.own_host_name ? stub::flag_own_host_name : 0U);
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    const auto done =
        ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0)
      return false;
    sent += static_cast<std::size_t>(done);
  }
  return true;
}

} // namespace troupe::shepherd
