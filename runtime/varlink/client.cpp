// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/client.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

#include "runtime/varlink/socket_address.hpp"

namespace troupe::varlink {

namespace {

constexpr std::size_t read_bytes = 64 * 1024;
constexpr auto connect_retry = std::chrono::milliseconds{5};

error unreachable(const std::string& path, int number) {
  auto why = number == ENOENT ? std::string{"no cluster is running there"} : system_message(number);
  return {errc::unreachable, "cannot reach the cluster at " + path + ": " + why};
}

} // namespace

client::client(unique_fd connected) : fd_{std::move(connected)} {}

expected<client> client::connect(const std::string& path, milliseconds deadline) {
  auto address = socket_address(path);
  if (!address)
    return tl::unexpected{address.error()};
  auto until = clock::now() + deadline;
  while (true) {
    unique_fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (!fd)
      return tl::unexpected{unreachable(path, errno)};
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0)
      return client{std::move(fd)};
    // A Unix socket gives no event when a place in the server's queue becomes free.
    if ((errno != EAGAIN && errno != EINTR) || clock::now() >= until)
      return tl::unexpected{unreachable(path, errno)};
    std::this_thread::sleep_for(connect_retry);
  }
}

expected<void> client::lost(int number) const {
  return fail(errc::unreachable,
              number == 0 ? std::string{"the cluster closed the connection"}
                          : "the connection to the cluster broke: " + system_message(number));
}

expected<void> client::take(std::string_view frame) {
  auto parsed = parse_reply(frame);
  if (!parsed)
    return fail(errc::internal,
                "the cluster sent a reply that cannot be read: " + parsed.error().text);
  received next;
  next.parameters = std::string{parsed->parameters};
  next.continues = parsed->continues;
  if (!parsed->error.empty())
    next.failed = to_application_error(*parsed);
  replies_.push_back(std::move(next));
  return {};
}

// Reads what is there without waiting.
expected<void> client::read_some() {
  std::array<char, read_bytes> buffer;
  auto got = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got < 0)
    return errno == EAGAIN || errno == EINTR ? expected<void>{} : lost(errno);
  if (got == 0)
    return lost(0);
  expected<void> taken;
  auto fed =
      reader_.feed({buffer.data(), static_cast<std::size_t>(got)}, [&](std::string_view frame) {
        taken = take(frame);
        return taken.has_value();
      });
  if (!fed)
    return tl::unexpected{fed.error()};
  return taken;
}

expected<void> client::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EPIPE || errno == ECONNRESET) {
      // The server may have said why before it closed: that reply is worth more than the broken
      // pipe.
      auto number = errno;
      return read_some() && !replies_.empty() ? expected<void>{} : lost(number);
    }
    if (errno != EAGAIN && errno != EINTR)
      return lost(errno);
    pollfd wait{fd_.get(), POLLIN | POLLOUT, 0};
    ::poll(&wait, 1, -1);
    if ((wait.revents & POLLIN) != 0)
      if (auto done = read_some(); !done)
        return done;
  }
  return {};
}

expected<void> client::send(const varlink::call& what) {
  std::string frame;
  frame.reserve(what.parameters.size() + what.method.size() + 64);
  append_call(frame, what);
  return write_all(frame);
}

expected<client::event> client::wait_for(int other, milliseconds wait) {
  auto until = clock::now() + wait;
  while (replies_.empty()) {
    int left = -1;
    if (wait.count() >= 0) {
      auto rest = std::chrono::ceil<milliseconds>(until - clock::now()).count();
      left = static_cast<int>(std::clamp<std::int64_t>(rest, 0, 1 << 30));
    }
    std::array<pollfd, 2> fds{{{fd_.get(), POLLIN, 0}, {other, POLLIN, 0}}};
    auto ready = ::poll(fds.data(), fds.size(), left);
    if (ready < 0 && errno != EINTR)
      return tl::unexpected{lost(errno).error()};
    if (ready > 0 && fds[0].revents != 0)
      if (auto done = read_some(); !done && replies_.empty())
        return tl::unexpected{done.error()};
    if (!replies_.empty())
      break;
    if (ready > 0 && fds[1].revents != 0)
      return event::other_readable;
    if (wait.count() >= 0 && clock::now() >= until)
      return event::timed_out;
  }
  return event::reply;
}

received client::pop() {
  auto next = std::move(replies_.front());
  replies_.pop_front();
  return next;
}

expected<std::optional<received>> client::receive_within(milliseconds wait) {
  auto happened = wait_for(-1, wait);
  if (!happened)
    return tl::unexpected{happened.error()};
  if (*happened != event::reply)
    return std::optional<received>{};
  return std::optional<received>{pop()};
}

expected<received> client::receive() {
  if (auto happened = wait_for(-1, milliseconds{-1}); !happened)
    return tl::unexpected{happened.error()};
  return pop();
}

expected<std::string> client::call(std::string_view method, std::string_view parameters) {
  varlink::call what;
  what.method = method;
  what.parameters = parameters;
  if (auto sent = send(what); !sent)
    return tl::unexpected{sent.error()};
  auto answer = receive();
  if (!answer)
    return tl::unexpected{answer.error()};
  if (answer->failed)
    return fail(answer->failed->code, answer->failed->message);
  return std::move(answer->parameters);
}

expected<void> client::stream(std::string_view method, std::string_view parameters,
                              const std::function<bool(std::string_view)>& handle) {
  varlink::call what;
  what.method = method;
  what.parameters = parameters;
  what.more = true;
  if (auto sent = send(what); !sent)
    return sent;
  while (true) {
    auto next = receive();
    if (!next)
      return tl::unexpected{next.error()};
    if (next->failed)
      return fail(next->failed->code, next->failed->message);
    if (!handle(next->parameters) || !next->continues)
      return {};
  }
}

} // namespace troupe::varlink
