// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/session.hpp"

#include "auth/domain.hpp"
#include "auth/job_request.hpp"
#include "auth/seal.hpp"
#include "messages/exec.hpp"
#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"
#include "runtime/state/records.hpp"
#include "tools/troupe/command.hpp"
#include "tools/troupe/paths.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

// A request is used at once. It is good from a little earlier, for clocks that differ, and for as
// long as a busy cluster may take to look at it; what comes of it, the warrant, lives longer.
constexpr std::int64_t request_skew_ns = 5 * ns_per_s;
constexpr std::int64_t request_life_ns = 600 * ns_per_s;
constexpr auto settled_within = 3s;

/// The first of two equal requests may be on its way to the disk still.
bool may_be_under_way(const calls::submit::reply& answer) {
  return answer.jobs.size() == 1 && answer.jobs.front().error &&
         answer.jobs.front().error->code == to_string(errc::conflict);
}

error unknown_submission(const error& why) {
  return {why.code, "whether the job was taken is unknown, for the cluster went away before it "
                    "answered (" +
                        why.text + "); look at 'troupe queue' before it is submitted again"};
}

/// Whether this is a command of a job's: then the cluster was there a moment ago.
bool within_job() {
  const char* job = std::getenv("TROUPE_JOB_ID");
  return job != nullptr && *job != '\0';
}

/// What to do about a socket that nobody answers on: that is what the state directory says.
std::string why_unreachable(const std::string& socket) {
  const auto state = state_directory();
  if (!state)
    return "'troupe up' starts one";
  const auto daemon = state::daemon_of(*state);
  if (socket != state::socket_of(*state))
    return daemon ? "it is what TROUPE_SOCKET names; unset it for the cluster of " + *state
                  : "it is what TROUPE_SOCKET names; unset it for a cluster of your own";
  if (const auto host = state::other_host(*state); daemon && host)
    return "the cluster of " + *state + " runs on the host " + *host;
  if (daemon)
    return "its trouped (" + state::describe(*daemon) + ") is starting or ending; see " +
           state::log_of(*state);
  if (state::launcher_of(*state))
    return "trouped has ended, its jobs go on; 'troupe up' starts it again";
  return "'troupe up' starts one";
}

/// Whether it is a trouped of this host that has the state directory which is meant: then it is
/// starting or ending.
bool may_listen_soon() {
  const auto state = state_directory();
  return state && !is_socket_elsewhere(*state) && state::daemon_of(*state) &&
         !state::other_host(*state);
}

/// What reads all of a ledger, or waits for others' ends.
constexpr std::array long_methods{calls::wait::method, calls::ledger_check::method,
                                  calls::ledger_backup::method, calls::audit_verify::method};

void tell_silence(int connection, std::chrono::seconds after) {
  ucred peer{};
  socklen_t size = sizeof peer;
  const auto known =
      ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0;
  write_all(STDERR_FILENO, "troupe: trouped " +
                               (known ? "(" + state::describe({peer.pid}) + ") " : std::string{}) +
                               "has not answered for " + std::to_string(after.count()) +
                               " s; waiting\n");
}

} // namespace

expected<session> session::connect_to(const std::string& socket,
                                      std::chrono::milliseconds deadline) {
  auto wire = varlink::client::connect(socket, deadline);
  if (!wire && wire.error().code == errc::unreachable)
    return fail(errc::unreachable, wire.error().text + "; " + why_unreachable(socket));
  if (!wire)
    return tl::unexpected{wire.error()};
  return session{std::move(*wire), socket};
}

expected<session> session::open(const std::string& capability_file) {
  const auto began = std::chrono::steady_clock::now();
  for (;;) {
    auto opened = open_now(capability_file);
    const auto waited = std::chrono::steady_clock::now() - began;
    if (opened || opened.error().code != errc::unreachable ||
        waited >= (within_job() ? return_deadline : start_deadline) ||
        !(within_job() || may_listen_soon()))
      return opened;
    std::this_thread::sleep_for(return_pause);
  }
}

expected<session> session::open_now(const std::string& capability_file) {
  auto path = socket_path();
  if (!path)
    return tl::unexpected{path.error()};
  return open_at(*path, capability_file);
}

expected<session> session::open_at(const std::string& socket, const std::string& capability_file) {
  auto opened = connect_to(socket);
  if (!opened)
    return opened;
  if (auto admitted = opened->admit(capability_file, nullptr); !admitted)
    return tl::unexpected{admitted.error()};
  return opened;
}

expected<std::string> session::ask(std::string_view method, std::string_view parameters) {
  varlink::call what;
  what.method = method;
  what.parameters = parameters;
  if (auto sent = wire_.send(what); !sent)
    return tl::unexpected{sent.error()};
  if (std::find(long_methods.begin(), long_methods.end(), method) == long_methods.end()) {
    const auto happened = wire_.wait_for(-1, silence_told_after);
    if (!happened)
      return tl::unexpected{happened.error()};
    if (*happened == varlink::client::event::timed_out)
      tell_silence(wire_.fd(), silence_told_after);
  }
  auto answer = wire_.receive();
  if (!answer)
    return tl::unexpected{answer.error()};
  if (answer->failed)
    return fail(answer->failed->code, answer->failed->message);
  return std::move(answer->parameters);
}

/// In this one's place, for the same key: what it has signed stays good.
expected<void> session::open_again() {
  auto opened = connect_to(socket_);
  if (!opened)
    return tl::unexpected{opened.error()};
  if (auto admitted = opened->admit(capability_file_, holder_); !admitted)
    return admitted;
  *this = std::move(*opened);
  return {};
}

expected<void> session::go_on_after(const error& why) {
  const bool went_away = why.code == errc::unreachable;
  if (!went_away && !capability_ended())
    return tl::unexpected{why};
  const auto until = std::chrono::steady_clock::now() + (went_away ? return_deadline : 0s);
  while (true) {
    auto opened = open_again();
    if (opened)
      return {};
    if (opened.error().code != errc::unreachable || std::chrono::steady_clock::now() >= until)
      return tl::unexpected{opened.error()};
    std::this_thread::sleep_for(return_pause);
  }
}

expected<answered<calls::submit::reply>> session::submit(const calls::submit& what) {
  auto answer = call(what);
  if (answer || answer.error().code != errc::unreachable || what.check_only)
    return answer;
  const auto until = std::chrono::steady_clock::now() + return_deadline;
  auto settled_by = std::chrono::steady_clock::time_point::max();
  for (;;) {
    if (!answer)
      if (auto again = go_on_after(answer.error()); !again)
        return tl::unexpected{unknown_submission(again.error())};
    answer = call(what);
    const auto now = std::chrono::steady_clock::now();
    if (answer) {
      settled_by = std::min(settled_by, now + settled_within);
      if (!may_be_under_way(answer->value) || now >= settled_by)
        return answer;
    } else if (answer.error().code != errc::unreachable) {
      return answer;
    } else if (now >= until) {
      return tl::unexpected{unknown_submission(answer.error())};
    }
    std::this_thread::sleep_for(return_pause);
  }
}

expected<void> session::admit(const std::string& capability_file,
                              std::shared_ptr<const auth::key_pair> holder) {
  capability_file_ = capability_file;
  if (capability_file.empty()) {
    holder_ = holder ? std::move(holder)
                     : std::make_shared<const auth::key_pair>(auth::key_pair::generate());
  } else {
    auto held = auth::load_held_capability(capability_file);
    if (!held)
      return tl::unexpected{held.error()};
    chain_ = std::move(held->chain);
    holder_ = std::make_shared<const auth::key_pair>(std::move(held->holder));
  }
  calls::hello greeting;
  greeting.holder = holder_->public_part();
  greeting.nonce = auth::random_bytes<32>();
  greeting.brings_capability = !capability_file.empty();
  auto greeted = call(greeting);
  if (!greeted)
    return tl::unexpected{greeted.error()};
  greeting_ = std::move(greeted->value);
  greeted_at_ = system_clock_source{}.boot();
  if (capability_file.empty())
    chain_ = greeting_.capability;
  calls::present presented;
  presented.chain.push_back(chain_);
  presented.proof = prove(greeting.nonce);
  auto admitted = call(presented);
  if (!admitted)
    return tl::unexpected{admitted.error()};
  admission_ = std::move(admitted->value);
  return {};
}

utc_ns session::utc() const {
  const system_clock_source here;
  if (greeting_.time_utc_ns == 0)
    return here.utc();
  return greeting_.time_utc_ns + (here.boot() - greeted_at_);
}

expected<auth::held_capability> session::delegate(auth::capability child) const {
  auto holder = auth::key_pair::generate();
  child.holder = holder.public_part();
  auto chain = auth::delegate(chain_, *holder_, std::move(child));
  if (!chain)
    return tl::unexpected<error>{chain.error()};
  return auth::held_capability{std::move(*chain), std::move(holder)};
}

// What auth::holder_proof signs: both nonces, the audience and the chain.
std::vector<std::uint8_t> session::prove(const fixed_bytes<32>& own_nonce) const {
  std::vector<std::uint8_t> body;
  auto append = [&](const auto& bytes) { body.insert(body.end(), bytes.begin(), bytes.end()); };
  append(greeting_.nonce);
  append(own_nonce);
  append(greeting_.audience);
  append(auth::chain_digest(chain_));
  auto signed_body = holder_->sign(auth::domain::proof, body);
  return {signed_body.begin(), signed_body.end()};
}

expected<std::vector<signed_request>> session::sign(std::span<const job_spec> specs) const {
  std::vector<fixed_bytes<auth::job_request_size>> bodies;
  std::vector<byte_view> views;
  const auto now = utc();
  for (const auto& spec : specs) {
    auth::job_request request;
    request.cluster = greeting_.cluster_id;
    request.id = auth::random_bytes<16>();
    request.uid = ::getuid();
    request.spec_digest = spec_digest(spec);
    request.elements = summary_of_elements(spec);
    request.may_spawn = may_spawn(spec);
    request.incarnations_max = incarnations_max(spec);
    request.not_before = now - request_skew_ns;
    request.not_after = now + request_life_ns;
    bodies.push_back(auth::encode(request));
  }
  for (const auto& body : bodies)
    views.emplace_back(body);
  auto seals = auth::seal_batch(auth::domain::request, 0, holder_->secret().view(), views);
  if (!seals)
    return tl::unexpected{seals.error()};
  std::vector<signed_request> result;
  for (std::size_t i = 0; i < bodies.size(); ++i)
    result.push_back({{bodies[i].begin(), bodies[i].end()}, std::move((*seals)[i])});
  return result;
}

} // namespace troupe::cli
