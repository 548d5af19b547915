// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch/client.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <utility>

namespace troupe::launch {

namespace {

constexpr int shortage_wait_ms = 20;

tl::unexpected<error> fail_errno(errc code, const std::string& doing) {
  return fail(code, doing + ": " + std::strerror(errno));
}

template <class M>
struct message {
  header head{M::what};
  M body{};
};

void append(std::vector<std::uint8_t>& out, std::uint32_t value) {
  std::uint8_t bytes[4];
  store_le(bytes, value);
  out.insert(out.end(), bytes, bytes + 4);
}

void append(std::vector<std::uint8_t>& out, byte_view bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

std::vector<std::uint8_t> build_batch(std::span<const sealed_order> orders,
                                      std::span<const byte_view> specs) {
  std::vector<std::uint8_t> out;
  std::size_t size = 12;
  for (const auto& order : orders)
    size += 12 + order.order.size() + order.seal.size();
  for (auto spec : specs)
    size += 4 + spec.size();
  out.reserve(size);
  append(out, batch_magic);
  append(out, static_cast<std::uint32_t>(orders.size()));
  for (const auto& order : orders) {
    append(out, static_cast<std::uint32_t>(order.order.size()));
    append(out, static_cast<std::uint32_t>(order.seal.size()));
    append(out, order.spec_index);
    append(out, order.order);
    append(out, order.seal);
  }
  append(out, static_cast<std::uint32_t>(specs.size()));
  for (auto spec : specs) {
    append(out, static_cast<std::uint32_t>(spec.size()));
    append(out, spec);
  }
  return out;
}

expected<unique_fd> make_sealed_memfd(byte_view bytes) {
  unique_fd fd{::memfd_create("troupe-orders", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd)
    return fail_errno(errc::exhausted, "making a memfd for launch orders");
  for (std::size_t done = 0; done < bytes.size();) {
    auto put = ::write(fd.get(), bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR)
      continue;
    if (put <= 0)
      return fail_errno(errc::exhausted, "writing launch orders into a memfd");
    done += static_cast<std::size_t>(put);
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return fail_errno(errc::internal, "sealing the memfd of launch orders");
  return fd;
}

/// The datagram's fixed part, and its tail; nothing when it is too short.
template <class M>
std::optional<M> take_body(byte_view datagram, byte_view& tail) {
  constexpr auto fixed = sizeof(header) + sizeof(M);
  if (datagram.size() < fixed)
    return std::nullopt;
  M body;
  std::memcpy(static_cast<void*>(&body), datagram.data() + sizeof(header), sizeof(M));
  tail = datagram.subspan(fixed);
  return body;
}

template <class T>
std::optional<std::vector<T>> take_array(byte_view tail, std::uint32_t count) {
  if (tail.size() != std::size_t{count} * sizeof(T))
    return std::nullopt;
  std::vector<T> out(count);
  if (count != 0)
    std::memcpy(static_cast<void*>(out.data()), tail.data(), tail.size());
  return out;
}

template <class M>
std::optional<event> decode_exact(byte_view datagram) {
  byte_view tail;
  auto body = take_body<M>(datagram, tail);
  if (!body || !tail.empty())
    return std::nullopt;
  return event{*body};
}

std::optional<event> decode_welcome(byte_view datagram) {
  byte_view tail;
  auto body = take_body<welcome>(datagram, tail);
  auto ranges = body ? take_array<node_range>(tail, body->ranges) : std::nullopt;
  if (!ranges)
    return std::nullopt;
  header head;
  std::memcpy(&head, datagram.data(), sizeof head);
  return event{welcomed{*body, std::move(*ranges), head.features}};
}

std::optional<event> decode_records(byte_view datagram) {
  byte_view tail;
  auto body = take_body<records_group>(datagram, tail);
  auto records = body ? take_array<record>(tail, body->count) : std::nullopt;
  if (!records)
    return std::nullopt;
  return event{recorded{std::move(*records)}};
}

std::optional<event> decode_inventory(byte_view datagram) {
  byte_view tail;
  auto body = take_body<inventory_part>(datagram, tail);
  auto entries = body ? take_array<inventory_entry>(tail, body->count) : std::nullopt;
  if (!entries)
    return std::nullopt;
  return event{inventoried{std::move(*entries)}};
}

std::optional<event> decode_text(byte_view datagram, kind what) {
  byte_view tail;
  if (what == kind::refusal) {
    auto body = take_body<refusal>(datagram, tail);
    if (!body)
      return std::nullopt;
    return event{refused{*body, std::string{as_text(tail)}}};
  }
  auto body = take_body<detail>(datagram, tail);
  if (!body)
    return std::nullopt;
  return event{detailed{body->seq, std::string{as_text(tail)}}};
}

struct passed_files {
  unique_fd first, second;
};

/// `is_cut`: the kernel had no number for a descriptor that came with it.
std::optional<event> decode_event(byte_view datagram, passed_files& files, bool is_cut) {
  header head;
  if (datagram.size() < sizeof head)
    return std::nullopt;
  std::memcpy(&head, datagram.data(), sizeof head);
  switch (head.what) {
  case kind::welcome: return decode_welcome(datagram);
  case kind::records: return decode_records(datagram);
  case kind::refusal:
  case kind::detail: return decode_text(datagram, head.what);
  case kind::batch_done: return decode_exact<batch_done>(datagram);
  case kind::inventory_part: return decode_inventory(datagram);
  case kind::inventory_end: return decode_exact<inventory_end>(datagram);
  case kind::stream: {
    byte_view tail;
    auto body = take_body<stream>(datagram, tail);
    constexpr std::uint32_t input = 4;
    if (body && tail.empty() && is_cut)
      return event{unlent_stream{*body}};
    if (!body || !tail.empty() || !files.first || (body->which == input) != bool(files.second))
      return std::nullopt;
    return event{lent_stream{*body, std::move(files.first), std::move(files.second)}};
  }
  default: return std::nullopt;
  }
}

passed_files take_descriptors(msghdr& head) {
  passed_files taken;
  for (auto* c = CMSG_FIRSTHDR(&head); c != nullptr; c = CMSG_NXTHDR(&head, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
      continue;
    auto count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      (taken.first ? taken.second : taken.first).reset(fd);
    }
  }
  return taken;
}

expected<unique_fd> connect_socket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(errc::invalid, "the launcher's socket path '" + path + "' has " +
                                   std::to_string(path.size()) + " bytes, the limit is 107");
  std::memcpy(address.sun_path, path.data(), path.size());
  unique_fd fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  if (!fd)
    return fail_errno(errc::exhausted, "making a socket for the launcher");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return fail_errno(errc::unreachable, "connecting to the launcher at " + path);
  return fd;
}

} // namespace

launcher_client::launcher_client(unique_fd fd, unique_fd wake)
    : fd_{std::move(fd)}, outbox_{std::make_unique<outbox>()} {
  outbox_->wake = std::move(wake);
}

expected<launcher_client> launcher_client::connect(const std::string& socket, byte_view keyring,
                                                   std::chrono::milliseconds deadline) {
  auto fd = connect_socket(socket);
  if (!fd)
    return tl::unexpected<error>{fd.error()};
  unique_fd wake{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake)
    return fail_errno(errc::exhausted, "making an eventfd for the launcher's connection");
  launcher_client client{std::move(*fd), std::move(wake)};
  std::vector<std::uint8_t> datagram(sizeof(message<hello>));
  message<hello> greeting;
  std::memcpy(datagram.data(), &greeting, sizeof greeting);
  append(datagram, keyring);
  // A launcher that turns a connection away closes it at once; what it said is still there to read.
  auto sent = client.send(datagram.data(), datagram.size());
  auto answer = client.receive_within(deadline);
  if (!answer)
    return tl::unexpected<error>{sent ? answer.error() : sent.error()};
  if (auto* no = std::get_if<refused>(&*answer))
    return fail(errc::refused, "the launcher at " + socket + " declined: " + no->text);
  auto* yes = std::get_if<welcomed>(&*answer);
  if (yes == nullptr || yes->launcher.version != protocol_version)
    return fail(errc::refused, "the launcher at " + socket +
                                   " does not speak version 1 of the protocol; restart it");
  client.welcomed_ = std::move(*yes);
  return client;
}

launcher_client::sending launcher_client::send_now(const void* bytes, std::size_t length,
                                                   int passed_fd) {
  iovec part{const_cast<void*>(bytes), length};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (passed_fd >= 0) {
    head.msg_control = control;
    head.msg_controllen = sizeof control;
    auto* c = CMSG_FIRSTHDR(&head);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(c), &passed_fd, sizeof(int));
  }
  ssize_t sent = 0;
  do
    sent = ::sendmsg(fd_.get(), &head, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0)
    return sending::done;
  outbox_->is_short = errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS;
  return errno == EAGAIN || outbox_->is_short ? sending::full : sending::broken;
}

expected<void> launcher_client::send(const void* bytes, std::size_t length, unique_fd passed) {
  const std::lock_guard lock{outbox_->mutex};
  auto& waiting = outbox_->waiting;
  if (waiting.empty()) {
    const auto sent = send_now(bytes, length, passed.get());
    if (sent == sending::broken)
      return fail_errno(errc::unreachable, "sending to the launcher");
    if (sent == sending::done)
      return {};
  }
  const auto is_batch = static_cast<bool>(passed);
  if (waiting.size() >= waiting_max || (is_batch && outbox_->batches >= waiting_batches_max))
    return fail(errc::exhausted, "the launcher does not read: " + std::to_string(waiting.size()) +
                                     " requests wait for it already");
  const auto* from = static_cast<const std::uint8_t*>(bytes);
  waiting.push_back({{from, from + length}, std::move(passed)});
  outbox_->batches += is_batch ? 1 : 0;
  const std::uint64_t one = 1;
  (void)!::write(outbox_->wake.get(), &one, sizeof one); // it counts: it cannot be full
  return {};
}

/// What the socket takes of it. A broken connection is told by reading.
void launcher_client::send_waiting() {
  const std::lock_guard lock{outbox_->mutex};
  auto& waiting = outbox_->waiting;
  outbox_->is_short = false;
  while (!waiting.empty()) {
    const auto& next = waiting.front();
    if (send_now(next.bytes.data(), next.bytes.size(), next.file.get()) == sending::full)
      return;
    outbox_->batches -= next.file ? 1 : 0;
    waiting.pop_front();
  }
}

template <class M>
expected<void> launcher_client::send_message(const M& body) {
  message<M> out;
  out.body = body;
  return send(&out, sizeof out);
}

template <class M>
expected<void> launcher_client::send_empty() {
  header head{M::what};
  return send(&head, sizeof head);
}

expected<void> launcher_client::launch(std::uint64_t tag, std::span<const sealed_order> orders,
                                       std::span<const byte_view> specs) {
  if (orders.empty() || orders.size() > batch_orders_max || specs.size() > batch_orders_max)
    return fail(errc::invalid, "a batch holds 1 to 4,096 orders and at most as many specs, not " +
                                   std::to_string(orders.size()) + " and " +
                                   std::to_string(specs.size()));
  auto bytes = build_batch(orders, specs);
  if (bytes.size() > batch_bytes_max)
    return fail(errc::invalid, "a batch of launch orders has " + std::to_string(bytes.size()) +
                                   " bytes, the limit is 8 MiB; send fewer at once");
  auto fd = make_sealed_memfd(bytes);
  if (!fd)
    return tl::unexpected<error>{fd.error()};
  message<launch_batch> out;
  out.body = {tag, bytes.size()};
  return send(&out, sizeof out, std::move(*fd));
}

expected<void> launcher_client::signal(const group_key& key, std::uint32_t lo, std::uint32_t hi,
                                       std::uint32_t signo) {
  return send_message(signal_request{key, lo, hi, signo, 0});
}

expected<void> launcher_client::end(const group_key& key, std::uint32_t lo, std::uint32_t hi,
                                    std::uint32_t grace_s) {
  return send_message(end_request{key, lo, hi, grace_s, 0});
}

expected<void> launcher_client::revoke(const group_key& key, std::uint32_t element_from) {
  return send_message(revoke_request{key, element_from, 0});
}

expected<void> launcher_client::acknowledge(std::uint64_t seq) {
  return send_message(acknowledge_request{seq});
}

expected<void> launcher_client::acknowledge(std::span<const seq_range> ranges) {
  struct {
    message<acknowledge_ranges_request> head;
    seq_range ranges[ranges_per_datagram];
  } out;
  while (!ranges.empty()) {
    const auto part = ranges.first(std::min<std::size_t>(ranges.size(), ranges_per_datagram));
    out.head.body.count = static_cast<std::uint32_t>(part.size());
    std::copy(part.begin(), part.end(), out.ranges);
    if (auto sent = send(&out, sizeof out.head + part.size_bytes()); !sent)
      return sent;
    ranges = ranges.subspan(part.size());
  }
  return {};
}

expected<void> launcher_client::forget(const group_key& key) {
  return send_message(forget_request{key});
}

expected<void> launcher_client::lend(std::uint64_t stream_id) {
  return send_message(lend_request{stream_id});
}

expected<void> launcher_client::drop_stream(std::uint64_t stream_id) {
  return send_message(drop_stream_request{stream_id});
}

expected<void> launcher_client::inventory() {
  return send_empty<inventory_request>();
}

expected<void> launcher_client::reexec() {
  return send_empty<reexec_request>();
}

expected<void> launcher_client::shutdown(bool end_jobs) {
  return send_message(shutdown_request{end_jobs ? 1U : 0U, 0});
}

/// Sends meanwhile what waits; false when nothing came in time (-1: for ever).
expected<bool> launcher_client::wait_for_event(int timeout_ms) {
  pollfd entries[2] = {{fd_.get(), POLLIN, 0}, {outbox_->wake.get(), POLLIN, 0}};
  bool is_short = false;
  {
    const std::lock_guard lock{outbox_->mutex};
    is_short = outbox_->is_short;
    if (!outbox_->waiting.empty() && !is_short)
      entries[0].events |= POLLOUT;
  }
  const bool is_cut = is_short && (timeout_ms < 0 || timeout_ms > shortage_wait_ms);
  const auto ready = ::poll(entries, 2, is_cut ? shortage_wait_ms : timeout_ms);
  if (ready < 0 && errno != EINTR && errno != ENOMEM)
    return fail_errno(errc::internal, "waiting for the launcher");
  if (entries[1].revents != 0) {
    std::uint64_t count = 0;
    (void)!::read(outbox_->wake.get(), &count, sizeof count);
  }
  if ((entries[0].revents & POLLOUT) != 0 || (is_short && ready == 0))
    send_waiting();
  return (entries[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
}

expected<event> launcher_client::receive() {
  for (;;) {
    auto ready = wait_for_event(-1);
    if (!ready)
      return tl::unexpected<error>{ready.error()};
    if (*ready)
      return receive_one();
  }
}

expected<event> launcher_client::receive_one() {
  std::uint8_t datagram[datagram_bytes_max];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)];
  iovec part{datagram, sizeof datagram};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  head.msg_control = control;
  head.msg_controllen = sizeof control;
  ssize_t got = 0;
  // A reset is told once, before what the launcher had said on closing: that is still there to
  // read.
  bool was_reset = false;
  do
    got = ::recvmsg(fd_.get(), &head, MSG_CMSG_CLOEXEC);
  while (got < 0 && (errno == EINTR || errno == EAGAIN ||
                     (errno == ECONNRESET && !std::exchange(was_reset, true))));
  if (got < 0)
    return fail_errno(errc::unreachable, "receiving from the launcher");
  if (got == 0)
    return fail(errc::unreachable, "the launcher closed its connection");
  auto files = take_descriptors(head);
  auto decoded = decode_event({datagram, static_cast<std::size_t>(got)}, files,
                              (head.msg_flags & MSG_CTRUNC) != 0);
  if (!decoded || (head.msg_flags & MSG_TRUNC) != 0)
    return fail(errc::internal, "the launcher sent a message of " + std::to_string(got) +
                                    " bytes that its protocol does not know; update both");
  return std::move(*decoded);
}

expected<event> launcher_client::receive_within(std::chrono::milliseconds deadline) {
  auto until = std::chrono::steady_clock::now() + deadline;
  for (;;) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        until - std::chrono::steady_clock::now());
    auto ready = wait_for_event(left.count() > 0 ? static_cast<int>(left.count()) : 0);
    if (!ready)
      return tl::unexpected<error>{ready.error()};
    if (*ready)
      return receive_one();
    if (std::chrono::steady_clock::now() >= until)
      return fail(errc::exhausted,
                  "the launcher did not answer within " + std::to_string(deadline.count()) + " ms");
  }
}

void launcher_client::interrupt() {
  ::shutdown(fd_.get(), SHUT_RDWR);
}

} // namespace troupe::launch
