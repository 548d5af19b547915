// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"
#include "auth/held_capability.hpp"
#include "socket_peer.hpp"

#include <functional>
#include <sys/stat.h>

// A narrower capability, made by a capability's holder for another key: what it reaches at the
// socket of a real cluster, and that nothing makes it reach more.

using namespace troupe;
using namespace troupe::test;

namespace {

using auth::capability;
using auth::verb;
using auth::verb_set;
using chain_bytes = std::vector<std::uint8_t>;

/// A delegation as the holder could sign it without any check of what it says.
chain_bytes forged_chain(const chain_bytes& parent, const capability& child,
                         const auth::key_pair& signer,
                         std::string_view purpose = auth::domain::delegation) {
  const auto named = auth::capability_digest(parent);
  const auto body = auth::encode_body(child);
  chain_bytes chain = parent;
  chain.insert(chain.end(), named.begin(), named.end());
  chain.insert(chain.end(), body.begin(), body.end());
  const auto sig = signer.sign(purpose, byte_view{chain}.subspan(auth::capability_size));
  chain.insert(chain.end(), sig.begin(), sig.end());
  return chain;
}

capability child_of(const capability& parent, const auth::key_pair& holder) {
  auto child = parent;
  child.key_id = 0;
  child.serial = auth::random_bytes<16>();
  child.holder = holder.public_part();
  child.depth_left = 0;
  return child;
}

/// A parent narrow in every dimension, signed by the cluster's key, so that each can be widened.
struct narrow_parent {
  explicit narrow_parent(test_cluster& cluster, const auth::key_pair& holder)
      : keys{auth::load_cluster_keys(cluster.state() + "/keys").value()} {
    socket_peer peer{socket_of(cluster)};
    fields = fields_of(peer.hello().capability);
    fields.holder = holder.public_part();
    fields.verbs = {verb::job_read, verb::queue_read};
    fields.on = {auth::resource_kind::jobs, 10, 20};
    fields.bound = {15, 2};
    chain = auth::issue_capability({keys.key_id, &keys.signing}, fields);
  }
  auth::cluster_keys keys;
  capability fields;
  chain_bytes chain;
};

expected<calls::present::reply> present_to(const test_cluster& cluster, const chain_bytes& chain,
                                           const auth::key_pair& holder) {
  socket_peer peer{socket_of(cluster)};
  peer.holder = same_key(holder);
  peer.hello_with_own();
  return peer.call(peer.presentation(chain));
}

} // namespace

TEST_CASE("a delegation wider than its parent is refused at the socket, in each dimension") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto parent_key = auth::key_pair::generate();
  const auto child_key = auth::key_pair::generate();
  const narrow_parent parent{cluster, parent_key};
  const auto fine = child_of(parent.fields, child_key);
  REQUIRE(present_to(cluster, forged_chain(parent.chain, fine, parent_key), child_key));

  using change = std::function<void(capability&)>;
  const std::vector<std::pair<const char*, change>> wider{
      {"verbs", [](auto& c) { c.verbs = c.verbs | verb_set{verb::job_cancel}; }},
      {"resource up", [](auto& c) { c.on.hi = 21; }},
      {"resource down", [](auto& c) { c.on.lo = 9; }},
      {"every resource", [](auto& c) { c.on = {}; }},
      {"another kind of resource", [](auto& c) { c.on.kind = auth::resource_kind::nodes; }},
      {"any job", [](auto& c) { c.bound = {}; }},
      {"another job", [](auto& c) { c.bound.job = 16; }},
      {"any incarnation", [](auto& c) { c.bound.incarnation = 0; }},
      {"earlier", [](auto& c) { c.not_before -= 1; }},
      {"later", [](auto& c) { c.expires += 1; }},
      {"another uid", [](auto& c) { c.who.uid += 1; }},
      {"another gid", [](auto& c) { c.who.gid += 1; }},
      {"another role", [](auto& c) { c.who.role = c.who.role == 3 ? 2 : 3; }},
      {"another audience", [](auto& c) { c.meant_for = *auth::audience::parse("launcher"); }},
      {"another cluster", [](auto& c) { c.cluster[0] ^= 1; }},
      {"further delegation", [](auto& c) { c.depth_left = 1; }},
  };
  for (const auto& [name, widen] : wider) {
    INFO(name);
    auto child = fine;
    widen(child);
    const auto answer =
        present_to(cluster, forged_chain(parent.chain, child, parent_key), child_key);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == errc::refused);
    CHECK(answer.error().text.find("wider than its parent in: ") != std::string::npos);
  }
  CHECK(eventually([&] { return refusals_audited(cluster, "wider_than_parent") == wider.size(); }));
}

TEST_CASE(
    "a delegation of a delegation, by a stranger, of another capability or purpose is refused") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto parent_key = auth::key_pair::generate();
  const auto child_key = auth::key_pair::generate();
  const narrow_parent parent{cluster, parent_key};
  const auto child = child_of(parent.fields, child_key);
  const auto refused = [&](const char* name, const chain_bytes& chain, const char* reason) {
    INFO(name);
    const auto before = refusals_audited(cluster, reason);
    const auto answer = present_to(cluster, chain, child_key);
    REQUIRE_FALSE(answer);
    CHECK(answer.error().text.size() > 20);
    CHECK(eventually([&] { return refusals_audited(cluster, reason) == before + 1; }));
  };
  refused("a stranger's", forged_chain(parent.chain, child, child_key), "bad_signature");
  refused("signed as a capability",
          forged_chain(parent.chain, child, parent_key, auth::domain::capability), "bad_signature");
  refused("signed as a proof", forged_chain(parent.chain, child, parent_key, auth::domain::proof),
          "bad_signature");
  auto other = parent.fields;
  other.serial = auth::random_bytes<16>();
  const auto another = auth::issue_capability({parent.keys.key_id, &parent.keys.signing}, other);
  auto moved = forged_chain(parent.chain, child, parent_key);
  std::copy(another.begin(), another.end(), moved.begin());
  refused("moved below another parent", moved, "digest_mismatch");
  auto last = parent.fields;
  last.depth_left = 0;
  const auto end = auth::issue_capability({parent.keys.key_id, &parent.keys.signing}, last);
  refused("below one that may not be delegated",
          forged_chain(end, child_of(last, child_key), parent_key), "depth_exhausted");
  const auto good = forged_chain(parent.chain, child, parent_key);
  const auto twice = forged_chain(good, child, child_key);
  refused("a grandchild", twice, "malformed");
  auto cut = good;
  cut.pop_back();
  refused("cut", cut, "malformed");
  auto expired = child;
  expired.not_before = parent.fields.not_before;
  expired.expires = parent.fields.not_before + 1;
  auto old = parent.fields;
  old.not_before -= 7200 * ns_per_s;
  expired.not_before = old.not_before;
  expired.expires = old.not_before + 60 * ns_per_s;
  refused("expired before its parent",
          forged_chain(auth::issue_capability({parent.keys.key_id, &parent.keys.signing}, old),
                       expired, parent_key),
          "expired");
}

TEST_CASE("a connection that brings its own capability has no other, and none before it") {
  test_cluster cluster{{1, 1, {}, {}}};
  socket_peer peer{socket_of(cluster)};
  CHECK(peer.hello_with_own().capability.empty());
  const auto unasked = peer.call(calls::queue{});
  REQUIRE_FALSE(unasked);
  CHECK(unasked.error().code == errc::refused);
  CHECK(eventually([&] { return refusals_audited(cluster, "holder_unproven") == 1; }));
  // A peer without manners is known by its connection, as ever.
  socket_peer foreign{socket_of(cluster)};
  CHECK(foreign.call(calls::queue{}));
}

TEST_CASE("a capability for certain nodes or jobs drains and revokes nothing beside them") {
  test_cluster cluster{{2, 1, {}, {}}};
  const auto job = cluster.submit({"--hold", "-o", "/dev/null", "true"});
  const auto keys = auth::load_cluster_keys(cluster.state() + "/keys").value();
  socket_peer peer{socket_of(cluster)};
  const auto own = fields_of(peer.hello().capability);
  const auto under = [&](auth::resource on) {
    auto narrow = own;
    narrow.on = on;
    peer.hello();
    REQUIRE(
        peer.call(peer.presentation(auth::issue_capability({keys.key_id, &keys.signing}, narrow))));
  };
  const auto refused = [&](const auto& answer) {
    REQUIRE_FALSE(answer);
    CHECK(answer.error().code == errc::refused);
    CHECK(answer.error().text.find("does not reach") != std::string::npos);
  };
  under({auth::resource_kind::nodes, 2, 2});
  refused(peer.call(calls::drain{{"node1"}, "mine"}));
  refused(peer.call(calls::drain{{"node2", "node1"}, "mine"}));
  CHECK(peer.call(calls::drain{{"node2"}, "mine"}));
  refused(peer.call(calls::revoke{{}, {}, std::stoull(job)}));
  under({auth::resource_kind::jobs, std::stoull(job), std::stoull(job)});
  refused(peer.call(calls::revoke{{}, 4711, {}}));
  refused(peer.call(calls::revoke{auth::to_hex(own.serial), {}, {}}));
  refused(peer.call(calls::revoke{{}, {}, std::stoull(job) + 1}));
  CHECK(eventually([&] { return refusals_audited(cluster, "outside_resource") == 6; }));
  CHECK_FALSE(peer.call(calls::revoke{{}, 4711, std::stoull(job)}));
  CHECK(peer.call(calls::revoke{{}, {}, std::stoull(job)}));
  // No capability has this one; what comes of warrants must not have it either.
  under({});
  CHECK_FALSE(peer.call(calls::revoke{std::string(32, '0'), {}, {}}));
  CHECK(cluster.run_shell({"-w", "node1"}, "exit 3").exit == 3);
}

TEST_CASE("cap attenuate writes a capability that does what it names, on the jobs it names alone") {
  test_cluster cluster{{1, 4, {}, {}}};
  const auto mine = cluster.submit({"--hold", "-o", "/dev/null", "true"});
  const auto other = cluster.submit({"--hold", "-o", "/dev/null", "true"});
  const auto file = cluster.path("narrow");
  const auto made = cluster.troupe({"cap", "attenuate", file, "--verb",
                                    "job_read,queue_read,job_hold,job_submit,history_read",
                                    "--verb", "job_cancel", "--jobs", mine, "--life", "10m"});
  INFO(made.err);
  REQUIRE(made.exit == 0);
  CHECK(made.out.find("delegated to:") != std::string::npos);
  struct stat about {};
  REQUIRE(::stat(file.c_str(), &about) == 0);
  CHECK((about.st_mode & 07777) == 0600);
  const auto with = [&](words command) {
    command.insert(command.begin() + 1, {"--capability", file});
    return cluster.troupe(command);
  };
  const auto inspected = cluster.troupe({"cap", "inspect", file});
  CHECK(inspected.out.find("resource    jobs " + mine + "-" + mine) != std::string::npos);

  CHECK(with({"show", mine}).exit == 0);
  CHECK(with({"why", mine}).exit == 0);
  const auto rows = json::parse(with({"queue", "--json"}).out).at("rows");
  REQUIRE(rows.size() == 1);
  CHECK(std::to_string(rows.at(0).at("job").get<std::uint64_t>()) == mine);

  const auto refused = [&](const words& command) {
    INFO(command.front());
    const auto done = with(command);
    CHECK(done.exit == 1);
    CHECK(done.out.empty());
    CHECK(lines_of(done.err).size() == 1);
    CHECK(done.err.find("apability") != std::string::npos);
  };
  refused({"show", other});
  refused({"why", other});
  refused({"wait", other});
  refused({"logs", other});
  refused({"cancel", other});
  refused({"hold", other});
  refused({"release", other});
  refused({"submit", "true"});
  refused({"run", "true"});
  refused({"signal", "TERM", mine});
  refused({"nodes"});
  refused({"drain", "node1"});
  refused({"audit", "tail"});
  refused({"cap", "revoke", "--job", mine});
  refused({"cap", "attenuate", cluster.path("more"), "--verb", "job_read"});
  CHECK(cluster.state_of(other) == "pending");

  CHECK(with({"release", mine}).exit == 0);
  CHECK(cluster.wait(mine).exit == 0);
  const auto history = json::parse(with({"history", "--json"}).out).at("rows");
  REQUIRE(history.size() == 1);
  CHECK(read_file(cluster.state() + "/audit.log").find("\"kind\":\"admitted\"") !=
        std::string::npos);
}

TEST_CASE("cap attenuate never writes what is wider, over another file, or for others to read") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto file = cluster.path("narrow");
  const auto refused = [&](words options, int exit) {
    words command{"cap", "attenuate", file};
    command.insert(command.end(), options.begin(), options.end());
    const auto done = cluster.troupe(command);
    INFO(done.err);
    CHECK(done.exit == exit);
    CHECK(lines_of(done.err).size() == 1);
    CHECK(::access(file.c_str(), F_OK) != 0);
  };
  refused({}, 2);
  refused({"--verb", "fly"}, 2);
  refused({"--verb", "job_read", "--jobs", "soon"}, 2);
  refused({"--verb", "job_read", "--jobs", "1_2"}, 2);
  refused({"--verb", "job_read", "--life", "long"}, 2);
  refused({"--verb", "job_read", "--life", "2h"}, 1); // an hour is what a login has
  refused({"--verb", "ledger_write"}, 1);             // a role's own
  cluster.write("narrow", "mine");
  CHECK(cluster.troupe({"cap", "attenuate", file, "--verb", "job_read"}).exit == 1);
  CHECK(cluster.file("narrow") == "mine");
  REQUIRE(::unlink(file.c_str()) == 0);
  REQUIRE(cluster.troupe({"cap", "attenuate", file, "--verb", "queue_read"}).exit == 0);
  REQUIRE(cluster.troupe({"queue", "--capability", file}).exit == 0);

  REQUIRE(::chmod(file.c_str(), 0640) == 0);
  const auto open_to_others = cluster.troupe({"queue", "--capability", file});
  CHECK(open_to_others.exit == 1);
  CHECK(open_to_others.err.find("other users") != std::string::npos);
  REQUIRE(::chmod(file.c_str(), 0600) == 0);
  REQUIRE(::symlink(file.c_str(), cluster.path("link").c_str()) == 0);
  CHECK(cluster.troupe({"queue", "--capability", cluster.path("link")}).exit == 1);
  CHECK(cluster.troupe({"queue", "--capability", cluster.path("nothing")}).exit == 1);
  REQUIRE(::truncate(file.c_str(), 100) == 0);
  CHECK(cluster.troupe({"queue", "--capability", file}).exit == 1);
}

TEST_CASE("revoking a capability ends what was made from it, and its own serial ends it alone") {
  test_cluster cluster{{1, 1, {}, {}}};
  const auto first = cluster.path("first");
  const auto second = cluster.path("second");
  for (const auto& file : {first, second})
    REQUIRE(cluster.troupe({"cap", "attenuate", file, "--verb", "queue_read"}).exit == 0);
  const auto serial_in = [&](const std::string& file, std::size_t which) {
    const auto text = cluster.troupe({"cap", "inspect", file}).out;
    auto at = text.find("serial      ");
    for (; which > 0; --which)
      at = text.find("serial      ", at + 1);
    REQUIRE(at != std::string::npos);
    return text.substr(at + 12, 32);
  };
  const auto works = [&](const std::string& file) {
    return cluster.troupe({"queue", "--capability", file}).exit == 0;
  };
  REQUIRE(cluster.troupe({"cap", "revoke", "--serial", serial_in(first, 0)}).exit == 0);
  CHECK_FALSE(works(first));
  CHECK(works(second));
  REQUIRE(cluster.troupe({"cap", "revoke", "--serial", serial_in(second, 1)}).exit == 0);
  CHECK_FALSE(works(second));
  CHECK(cluster.troupe({"queue"}).exit == 0);
}
