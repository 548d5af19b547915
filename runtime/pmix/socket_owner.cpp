// SPDX-License-Identifier: Apache-2.0
#include "runtime/pmix/socket_owner.hpp"

#include "base/unique_fd.hpp"

#include <cerrno>
#include <cstring>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>

namespace troupe::pmix {

namespace {

tl::unexpected<error> unknown(const char* what, int number) {
  return fail(errc::refused, std::string{"the owner of a connection is not known: "} + what + ": " +
                                 std::strerror(number));
}

/// The other end's own view of the connection: its source is our destination.
bool fill(const sockaddr_storage& peer, const sockaddr_storage& own, inet_diag_req_v2& request) {
  request.sdiag_family = static_cast<__u8>(peer.ss_family);
  auto& id = request.id;
  if (peer.ss_family == AF_INET) {
    const auto& from = reinterpret_cast<const sockaddr_in&>(peer);
    const auto& to = reinterpret_cast<const sockaddr_in&>(own);
    id.idiag_sport = from.sin_port;
    id.idiag_dport = to.sin_port;
    std::memcpy(id.idiag_src, &from.sin_addr, sizeof from.sin_addr);
    std::memcpy(id.idiag_dst, &to.sin_addr, sizeof to.sin_addr);
    return true;
  }
  if (peer.ss_family != AF_INET6)
    return false;
  const auto& from = reinterpret_cast<const sockaddr_in6&>(peer);
  const auto& to = reinterpret_cast<const sockaddr_in6&>(own);
  id.idiag_sport = from.sin6_port;
  id.idiag_dport = to.sin6_port;
  std::memcpy(id.idiag_src, &from.sin6_addr, sizeof from.sin6_addr);
  std::memcpy(id.idiag_dst, &to.sin6_addr, sizeof to.sin6_addr);
  return true;
}

expected<uid_t> ask(const inet_diag_req_v2& request) {
  const unique_fd netlink{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)};
  if (!netlink)
    return unknown("no netlink socket", errno);
  struct {
    nlmsghdr head;
    inet_diag_req_v2 body;
  } question{};
  question.head.nlmsg_len = sizeof question;
  question.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.head.nlmsg_flags = NLM_F_REQUEST;
  question.body = request;
  if (::send(netlink.get(), &question, sizeof question, 0) != sizeof question)
    return unknown("asking the kernel", errno);
  alignas(nlmsghdr) char answer[8192];
  const auto length = ::recv(netlink.get(), answer, sizeof answer, 0);
  const auto* head = reinterpret_cast<const nlmsghdr*>(answer);
  if (length < static_cast<ssize_t>(sizeof(nlmsghdr)))
    return unknown("the kernel's answer", errno);
  if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
      length < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg))))
    return unknown("no such socket on this host", ENOENT);
  return static_cast<const inet_diag_msg*>(NLMSG_DATA(head))->idiag_uid;
}

} // namespace

expected<uid_t> owner_of_peer(int socket) {
  sockaddr_storage peer{};
  sockaddr_storage own{};
  socklen_t peer_bytes = sizeof peer;
  socklen_t own_bytes = sizeof own;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&peer), &peer_bytes) != 0 ||
      ::getsockname(socket, reinterpret_cast<sockaddr*>(&own), &own_bytes) != 0)
    return unknown("reading its addresses", errno);
  inet_diag_req_v2 request{};
  request.sdiag_protocol = IPPROTO_TCP;
  request.idiag_states = ~0U;
  request.id.idiag_cookie[0] = request.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (!fill(peer, own, request))
    return unknown("it is no TCP connection", EAFNOSUPPORT);
  return ask(request);
}

} // namespace troupe::pmix
