// SPDX-License-Identifier: Apache-2.0
#include "runtime/varlink/acceptor.hpp"

#include "base/thread.hpp"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "runtime/varlink/envelope.hpp"
#include "runtime/varlink/socket_address.hpp"

namespace troupe::varlink {

namespace {

// How long to leave waiting connections alone when the system can give us nothing, and no event
// will tell when it can.
constexpr int exhausted_pause_ms = 50;
constexpr int backlog = 1024;

#ifndef SO_PEERPIDFD
constexpr int so_peerpidfd = 77;
#else
constexpr int so_peerpidfd = SO_PEERPIDFD;
#endif

tl::unexpected<error> failed(const std::string& doing, int number) {
  return fail(errc::storage, doing + ": " + system_message(number));
}

unique_fd pidfd_of_peer(int fd, pid_t pid) {
  int pidfd = -1;
  socklen_t size = sizeof(pidfd);
  if (::getsockopt(fd, SOL_SOCKET, so_peerpidfd, &pidfd, &size) == 0)
    return unique_fd{pidfd};
  return unique_fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

bool read_credentials(int fd, peer_credentials& into) {
  ucred from{};
  socklen_t size = sizeof(from);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &from, &size) != 0)
    return false;
  into.pid = from.pid;
  into.uid = from.uid;
  into.gid = from.gid;
  into.pidfd = pidfd_of_peer(fd, from.pid);
  return true;
}

bool someone_listens(const sockaddr_un& address) {
  unique_fd probe{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  auto connected =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  // EAGAIN: a listener whose queue is full is a listener.
  return connected == 0 || errno == EAGAIN;
}

unique_fd open_reserve() {
  return unique_fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
}

} // namespace

expected<std::unique_ptr<acceptor>> acceptor::listen(acceptor_options options, on_accept handle) {
  std::unique_ptr<acceptor> made{new acceptor{std::move(options), std::move(handle)}};
  auto done = made->lock()
                  .and_then([&] { return made->clear_stale_socket(); })
                  .and_then([&] { return made->bind(); })
                  .and_then([&] { return made->start(); });
  if (!done)
    return tl::unexpected{done.error()};
  return made;
}

acceptor::~acceptor() {
  if (thread_.joinable()) {
    std::uint64_t one = 1;
    // Writing to an eventfd of value zero cannot fail or block.
    [[maybe_unused]] auto written = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
  }
  if (bound_)
    ::unlink(options_.path.c_str());
}

// The lock, not the socket, says who is alive: a socket file survives its server, a flock does not.
// The lock file itself stays: removing it would let two servers hold locks on two files of one
// name.
expected<void> acceptor::lock() {
  if (auto address = socket_address(options_.path); !address)
    return tl::unexpected{address.error()};
  auto path = options_.path + ".lock";
  lock_.reset(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock_)
    return failed("cannot open the lock file " + path, errno);
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) == 0)
    return {};
  if (errno != EWOULDBLOCK)
    return failed("cannot lock " + path, errno);
  return fail(errc::conflict,
              "a server is already running on " + options_.path + "; stop it first");
}

expected<void> acceptor::clear_stale_socket() const {
  struct stat found {};
  if (::lstat(options_.path.c_str(), &found) != 0)
    return errno == ENOENT ? expected<void>{} : failed("cannot look at " + options_.path, errno);
  if (!S_ISSOCK(found.st_mode))
    return fail(errc::conflict,
                options_.path + " is there and is not a socket; remove it or choose another path");
  if (someone_listens(*socket_address(options_.path)))
    return fail(errc::conflict,
                "another program is listening on " + options_.path + "; choose another path");
  if (::unlink(options_.path.c_str()) != 0)
    return failed("cannot remove the socket a dead server left at " + options_.path, errno);
  return {};
}

expected<void> acceptor::bind() {
  auto address = *socket_address(options_.path);
  listener_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_)
    return failed("cannot make a socket", errno);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return failed("cannot make the socket " + options_.path, errno);
  bound_ = true;
  // Nobody can connect before listen(), so the mode is right from the first connection on.
  if (::chmod(options_.path.c_str(), static_cast<mode_t>(options_.access)) != 0)
    return failed("cannot set the mode of " + options_.path, errno);
  if (::listen(listener_.get(), backlog) != 0)
    return failed("cannot listen on " + options_.path, errno);
  return {};
}

expected<void> acceptor::start() {
  stop_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  reserve_ = open_reserve();
  if (!stop_ || !reserve_)
    return failed("cannot open the descriptors an acceptor needs", errno);
  // Signals belong to the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  auto made = make_thread("accepting connections", [this] { run(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!made)
    return tl::unexpected<error>{made.error()};
  thread_ = std::move(*made);
  return {};
}

void acceptor::run() {
  bool paused = false;
  while (true) {
    std::array<pollfd, 2> wait{
        {{stop_.get(), POLLIN, 0}, {paused ? -1 : listener_.get(), POLLIN, 0}}};
    ::poll(wait.data(), wait.size(), paused ? exhausted_pause_ms : -1);
    if (wait[0].revents != 0)
      return;
    paused = (paused || wait[1].revents != 0) && !accept_one();
  }
}

bool acceptor::accept_one() {
  unique_fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (!fd)
    return accept_failed(errno);
  if (open_->load() >= options_.connections_max) {
    refuse(std::move(fd));
    return true;
  }
  accepted_connection connection;
  if (!read_credentials(fd.get(), connection.peer)) {
    refuse(std::move(fd));
    return true;
  }
  connection.fd = std::move(fd);
  connection.slot = connection_slot{open_};
  handle_(std::move(connection));
  return true;
}

// Without a free descriptor the waiting connection stays readable for ever and the loop would spin.
// The reserve makes room to take it and turn it away, so that its owner learns of it at once.
bool acceptor::accept_failed(int error_number) {
  if (error_number == EAGAIN || error_number == EINTR || error_number == ECONNABORTED)
    return true;
  if (error_number != EMFILE && error_number != ENFILE)
    return false;
  reserve_.reset();
  unique_fd fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  bool taken = static_cast<bool>(fd);
  if (taken)
    refuse(std::move(fd));
  reserve_ = open_reserve();
  return taken && reserve_;
}

void acceptor::refuse(unique_fd fd) {
  ++refused_;
  static const std::string answer = [] {
    std::string text;
    append_error(
        text, application_error{errc::exhausted, "connections",
                                "the cluster has no room for another connection; try again later"});
    return text;
  }();
  ::send(fd.get(), answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

} // namespace troupe::varlink
