// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/job_request.hpp"
#include "auth/seal.hpp"
#include "auth/verifier.hpp"
#include "base/unique_fd.hpp"
#include "cluster_harness.hpp"
#include "messages/calls.hpp"
#include "messages/exec.hpp"
#include "messages/json.hpp"
#include "runtime/varlink/client.hpp"

#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

// Somebody at the socket of a real cluster who need not keep to anything.

namespace troupe::test {

/// A connection without any manners: bytes out, bytes in.
inline unique_fd plain_connection(const std::string& path) {
  unique_fd made{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  if (::connect(made.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return {};
  return made;
}

/// A peer with a key of its own.
class socket_peer {
public:
  explicit socket_peer(const std::string& path) : path_{path}, wire_{connect(path)} {}

  template <class Method>
  expected<typename Method::reply> call(const Method& what) {
    auto text = wire_.call(Method::method, to_json_text(what, visibility::owner));
    if (!text)
      return tl::unexpected<error>{text.error()};
    return from_json_text<typename Method::reply>(*text);
  }

  /// A capability for this peer's key, and a nonce to prove it with.
  calls::hello::reply hello() { return greet(false); }
  /// The nonce alone, for a capability that this peer has already.
  calls::hello::reply hello_with_own() { return greet(true); }

  calls::hello::reply greet(bool brings_capability) {
    calls::hello greeting;
    greeting.brings_capability = brings_capability;
    greeting.holder = holder.public_part();
    greeting.nonce = client_nonce_ = auth::random_bytes<32>();
    auto answer = call(greeting);
    if (!answer)
      FAIL(answer.error().text);
    greeting_ = *answer;
    return *answer;
  }

  calls::present presentation(const std::vector<std::uint8_t>& chain) {
    calls::present made;
    made.chain.push_back(chain);
    bytes body;
    auto append = [&](const auto& part) { body.insert(body.end(), part.begin(), part.end()); };
    append(greeting_.nonce);
    append(client_nonce_);
    append(greeting_.audience);
    append(auth::chain_digest(chain));
    auto proof = holder.sign(auth::domain::proof, body);
    made.proof.assign(proof.begin(), proof.end());
    return made;
  }

  /// Hello and Present, as an honest peer does it.
  void open() {
    const auto chain = hello().capability;
    auto done = call(presentation(chain));
    if (!done)
      FAIL(done.error().text);
  }

  auth::job_request request_for(const job_spec& spec) const {
    const auto now = system_clock_source{}.utc();
    auth::job_request made;
    made.cluster = greeting_.cluster_id;
    made.id = auth::random_bytes<16>();
    made.uid = ::getuid();
    made.spec_digest = spec_digest(spec);
    made.elements = summary_of_elements(spec);
    made.incarnations_max = incarnations_max(spec);
    made.not_before = now - ns_per_s;
    made.not_after = now + 60 * ns_per_s;
    return made;
  }

  static signed_request seal(const auth::job_request& what, const auth::key_pair& key) {
    const auto body = auth::encode(what);
    const std::vector<byte_view> bodies{body};
    auto seals = auth::seal_batch(auth::domain::request, 0, key.secret().view(), bodies);
    if (!seals)
      FAIL(seals.error().text);
    return {{body.begin(), body.end()}, seals->front()};
  }

  calls::submit::result submit(const job_spec& spec, const signed_request& with) {
    calls::submit what;
    what.jobs.push_back(spec);
    what.requests.push_back(with);
    auto answer = call(what);
    if (!answer)
      return {0, calls::failure{"", answer.error().text}, {}};
    REQUIRE(answer->jobs.size() == 1);
    return answer->jobs.front();
  }

  varlink::client& wire() { return wire_; }
  const calls::hello::reply& greeting() const { return greeting_; }

  auth::key_pair holder = auth::key_pair::generate();

private:
  using bytes = std::vector<std::uint8_t>;
  static varlink::client connect(const std::string& path) {
    auto made = varlink::client::connect(path, std::chrono::seconds{10});
    if (!made)
      FAIL(made.error().text);
    return std::move(*made);
  }

  std::string path_;
  varlink::client wire_;
  fixed_bytes<32> client_nonce_{};
  calls::hello::reply greeting_;
};

/// The socket of a cluster of the tests.
inline std::string socket_of(const test_cluster& cluster) {
  return cluster.state() + "/socket";
}

/// A capability's own fields.
inline auth::capability fields_of(byte_view chain) {
  auto body = auth::decode_body(chain.first(auth::capability_layout::body_size));
  REQUIRE(body);
  return *body;
}

/// The same key once more: keys are not copied.
inline auth::key_pair same_key(const auth::key_pair& key) {
  return auth::key_pair::from_seed(
      std::span<const std::uint8_t, 32>{key.secret().view().first(32)});
}

/// How many refusals for `reason` the audit chain has: the first of a second stands by itself, the
/// others are counted in one record.
inline std::uint64_t refusals_audited(test_cluster& cluster, const std::string& reason) {
  std::uint64_t count = 0;
  for (const auto& line : lines_of(read_file(cluster.state() + "/audit.log"))) {
    const auto record = json::parse(line, nullptr, false);
    if (record.is_object() && record.value("kind", "") == "refused" &&
        record.value("reason", "") == reason)
      count += std::stoull(record.value("count", "0"));
  }
  return count;
}

inline job_spec small_job() {
  job_spec spec;
  spec.argv = {"/bin/true"};
  spec.cwd = "/";
  return spec;
}

} // namespace troupe::test
