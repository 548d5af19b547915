// SPDX-License-Identifier: Apache-2.0
#include "tools/troupe/session.hpp"

#include "auth/domain.hpp"
#include "auth/job_request.hpp"
#include "auth/seal.hpp"
#include "messages/exec.hpp"
#include "tools/troupe/paths.hpp"

#include <array>
#include <cstdlib>
#include <thread>
#include <unistd.h>

namespace troupe::cli {

namespace {

using namespace std::chrono_literals;

// A request is used at once. It is good from a little earlier, for clocks that differ, and for as
// long as a busy cluster may take to look at it; what comes of it, the warrant, lives longer.
constexpr std::int64_t request_skew_ns = 5 * ns_per_s;
constexpr std::int64_t request_life_ns = 600 * ns_per_s;

} // namespace

expected<session> session::connect(std::chrono::milliseconds deadline) {
  auto path = socket_path();
  if (!path)
    return tl::unexpected{path.error()};
  auto wire = varlink::client::connect(*path, deadline);
  if (!wire)
    return fail(wire.error().code, wire.error().text + "; 'troupe up' starts one");
  return session{std::move(*wire)};
}

expected<session> session::open(const std::string& capability_file) {
  auto opened = connect();
  if (!opened)
    return opened;
  if (auto admitted = opened->admit(capability_file); !admitted)
    return tl::unexpected{admitted.error()};
  return opened;
}

expected<void> session::go_on_after(const error& why) {
  const bool went_away = why.code == errc::unreachable;
  if (!went_away && !capability_ended())
    return tl::unexpected{why};
  const auto until = std::chrono::steady_clock::now() + (went_away ? return_deadline : 0s);
  while (true) {
    auto opened = open(capability_file_);
    if (opened) {
      *this = std::move(*opened);
      return {};
    }
    if (opened.error().code != errc::unreachable || std::chrono::steady_clock::now() >= until)
      return tl::unexpected{opened.error()};
    std::this_thread::sleep_for(return_pause);
  }
}

expected<void> session::admit(const std::string& capability_file) {
  capability_file_ = capability_file;
  if (capability_file.empty()) {
    holder_ = std::make_shared<const auth::key_pair>(auth::key_pair::generate());
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
  auto now = system_clock_source{}.utc();
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
