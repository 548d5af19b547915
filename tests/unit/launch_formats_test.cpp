// SPDX-License-Identifier: Apache-2.0
#include "auth/exec_spec.hpp"
#include "auth/order.hpp"
#include "auth/seal.hpp"
#include "catch.hpp"

#include <random>

using namespace troupe;
using namespace troupe::auth;

namespace {

struct key_pair {
  fixed_bytes<32> public_key{};
  fixed_bytes<64> secret_key{};
  key_pair() {
    REQUIRE(sodium_init() >= 0);
    crypto_sign_keypair(public_key.data(), secret_key.data());
  }
};

std::vector<std::vector<std::uint8_t>> random_bodies(std::mt19937_64& random, std::size_t count) {
  std::vector<std::vector<std::uint8_t>> bodies(count);
  for (auto& body : bodies) {
    body.resize(random() % 100);
    for (auto& byte : body)
      byte = static_cast<std::uint8_t>(random());
  }
  return bodies;
}

exec_spec sample_spec() {
  exec_spec spec;
  spec.cwd = "/home/ada";
  spec.stdout_path = "out-%j-%a.txt";
  spec.stderr_path = "|";
  spec.script = "#!/bin/sh\necho hello\n";
  spec.argv = {"job.sh", "", "three words here"};
  spec.env = {"A=", "PATH=/bin", "Z=a=b"};
  return spec;
}

launch_order sample_order() {
  launch_order order;
  order.bind_mode = 1;
  order.cluster_id.fill(7);
  order.node_id = 3;
  order.instance.fill(9);
  order.job = 812;
  order.incarnation = 2;
  order.element_first = 10;
  order.element_count = 100;
  order.window = 2;
  order.issued_ns = 1'000;
  order.expires_ns = 1'000 + 60 * ns_per_s;
  order.uid = 1000;
  order.gid = 1000;
  order.rank_first = 4;
  order.ranks_here = 2;
  order.ranks_total = 8;
  order.node_index = 2;
  order.node_count = 4;
  order.memory_bytes = 1 << 30;
  order.time_limit_s = 60;
  order.grace_s = 5;
  order.groups = {4, 27, 1000};
  order.cpu_words = 2;
  order.cpusets = {1, 0, 2, 0, 4, 0, 8, 1};
  order.spec_digest.fill(5);
  order.user = "ada";
  order.home = "/home/ada";
  order.shell = "/bin/bash";
  order.node_name = "n3";
  order.nodelist = "n[1-4]";
  order.job_name = "sim";
  order.submit_dir = "/home/ada/run";
  return order;
}

template <class Decode>
void refuses_every_other_length(std::vector<std::uint8_t> bytes, Decode&& accepts) {
  REQUIRE(accepts(bytes));
  auto longer = bytes;
  longer.push_back(0);
  CHECK_FALSE(accepts(longer));
  for (auto length = bytes.size(); length-- > 0;) {
    bytes.resize(length);
    // An exactly sized heap copy, so that the sanitizers see a read past the end.
    std::vector<std::uint8_t> copy(bytes.begin(), bytes.end());
    copy.shrink_to_fit();
    CHECK_FALSE(accepts(copy));
  }
}

/// Whatever is accepted encodes to the same bytes.
template <class Decode, class Encode>
void survives_noise(std::vector<std::uint8_t> base, Decode&& decode, Encode&& encode) {
  std::mt19937_64 random{20261};
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = base;
    for (auto flips = 1 + random() % 4; flips > 0; --flips)
      bytes[random() % bytes.size()] = static_cast<std::uint8_t>(random());
    if (auto decoded = decode(bytes)) {
      auto again = encode(*decoded);
      REQUIRE(again);
      REQUIRE(*again == bytes);
    }
  }
  for (int round = 0; round < 5'000; ++round) {
    std::vector<std::uint8_t> bytes(random() % 300);
    for (auto& byte : bytes)
      byte = static_cast<std::uint8_t>(random());
    if (!bytes.empty())
      bytes[0] = 1;
    (void)decode(bytes);
  }
}

} // namespace

TEST_CASE("every seal of a batch verifies over its own body and over no other") {
  key_pair key;
  std::mt19937_64 random{1};
  for (std::size_t count : {1U, 2U, 3U, 4U, 5U, 7U, 8U, 9U, 31U, 33U, 64U, 100U}) {
    auto bodies = random_bodies(random, count);
    bodies[0] = {1, 2, 3};
    std::vector<byte_view> views(bodies.begin(), bodies.end());
    auto seals = seal_batch(domain::order, 4, key.secret_key, views);
    REQUIRE(seals);
    REQUIRE(seals->size() == count);
    seal_cache cache;
    for (std::size_t i = 0; i < count; ++i) {
      REQUIRE(verify_seal_bytes(domain::order, (*seals)[i], views[i], key.public_key, cache));
      auto altered = bodies[i];
      altered.push_back(0);
      CHECK_FALSE(verify_seal_bytes(domain::order, (*seals)[i], altered, key.public_key, cache));
      CHECK_FALSE(verify_seal_bytes(domain::warrant, (*seals)[i], views[i], key.public_key, cache));
    }
  }
}

TEST_CASE("a seal with any one bit changed is refused, also when its root is remembered") {
  key_pair key;
  std::mt19937_64 random{2};
  auto bodies = random_bodies(random, 5);
  std::vector<byte_view> views(bodies.begin(), bodies.end());
  auto seals = seal_batch(domain::order, 4, key.secret_key, views);
  REQUIRE(seals);
  seal_cache cache;
  for (std::size_t i = 0; i < views.size(); ++i) {
    REQUIRE(verify_seal_bytes(domain::order, (*seals)[i], views[i], key.public_key, cache));
    auto seal = (*seals)[i];
    for (std::size_t bit = 0; bit < seal.size() * 8; ++bit) {
      if (bit / 8 >= 4 && bit / 8 < 8)
        continue; // the key id only says which key to look for
      auto altered = seal;
      altered[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      CHECK_FALSE(verify_seal_bytes(domain::order, altered, views[i], key.public_key, cache));
    }
  }
}

TEST_CASE("a seal of another key is refused") {
  key_pair key;
  key_pair other;
  std::vector<std::uint8_t> body{1, 2, 3};
  auto seal = seal_one(domain::order, 1, key.secret_key, body);
  REQUIRE(seal);
  seal_cache cache;
  CHECK(verify_seal_bytes(domain::order, *seal, body, key.public_key, cache));
  CHECK_FALSE(verify_seal_bytes(domain::order, *seal, body, other.public_key, cache));
}

TEST_CASE("a seal is accepted in its exact length only") {
  key_pair key;
  std::vector<std::uint8_t> body{1, 2, 3};
  std::vector<byte_view> views(6, body);
  auto seals = seal_batch(domain::order, 1, key.secret_key, views);
  REQUIRE(seals);
  refuses_every_other_length((*seals)[2], [](const std::vector<std::uint8_t>& bytes) {
    seal_view view;
    return !decode_seal(bytes, view);
  });
}

TEST_CASE("a batch of no bodies or of too many is refused with a sentence") {
  key_pair key;
  CHECK_FALSE(seal_batch(domain::order, 1, key.secret_key, {}));
  std::vector<byte_view> views(seal_count_max + 1);
  CHECK_FALSE(seal_batch(domain::order, 1, key.secret_key, views));
}

TEST_CASE("a spec survives encoding and is accepted in its exact length only") {
  auto spec = sample_spec();
  auto bytes = encode_exec_spec(spec);
  REQUIRE(bytes);
  auto decoded = decode_exec_spec(*bytes);
  REQUIRE(decoded);
  CHECK(*decoded == spec);
  refuses_every_other_length(*bytes, [](const std::vector<std::uint8_t>& cut) {
    exec_spec_view view;
    return !decode_exec_spec(cut, view);
  });
  survives_noise(
      *bytes, [](const auto& noisy) { return decode_exec_spec(noisy); },
      [](const auto& decoded_spec) { return encode_exec_spec(decoded_spec); });
}

TEST_CASE("a spec's terminal has a size, and the job's streams to itself") {
  auto spec = sample_spec();
  spec.stdin_path = spec.stdout_path = "|";
  spec.stderr_path.clear();
  spec.merge_stderr = spec.has_terminal = true;
  spec.rows = 50;
  spec.columns = 65535;
  auto bytes = encode_exec_spec(spec);
  REQUIRE(bytes);
  CHECK(*decode_exec_spec(*bytes) == spec);
  refuses_every_other_length(*bytes, [](const std::vector<std::uint8_t>& cut) {
    exec_spec_view view;
    return !decode_exec_spec(cut, view);
  });
  auto without_input = spec;
  without_input.stdin_path.clear();
  CHECK_FALSE(encode_exec_spec(without_input));
  auto to_a_file = spec;
  to_a_file.stdout_path = "out";
  CHECK_FALSE(encode_exec_spec(to_a_file));
  auto apart = spec;
  apart.merge_stderr = false;
  CHECK_FALSE(encode_exec_spec(apart));
}

TEST_CASE("a spec's environment is sorted by encoding and refuses duplicates and bad entries") {
  auto spec = sample_spec();
  spec.env = {"B=2", "A=1"};
  auto bytes = encode_exec_spec(spec);
  REQUIRE(bytes);
  CHECK(decode_exec_spec(*bytes)->env == std::vector<std::string>{"A=1", "B=2"});
  for (const auto& bad : {"=1", "novalue", ""}) {
    spec.env = {bad};
    CHECK_FALSE(encode_exec_spec(spec));
  }
  spec.env = {"A=1", "A=2"};
  CHECK_FALSE(encode_exec_spec(spec));
}

TEST_CASE("a spec beyond a bound is refused") {
  auto spec = sample_spec();
  spec.argv.clear();
  CHECK_FALSE(encode_exec_spec(spec));
  spec.argv = {""};
  CHECK_FALSE(encode_exec_spec(spec));
  spec.argv.assign(spec_argc_max + 1, "x");
  CHECK_FALSE(encode_exec_spec(spec));
  spec.argv = {"x", std::string(spec_string_bytes_max + 1, 'x')};
  CHECK_FALSE(encode_exec_spec(spec));
  spec.argv = {"x", std::string("a\0b", 3)};
  CHECK_FALSE(encode_exec_spec(spec));
  spec.argv.assign(100, std::string(spec_string_bytes_max, 'x'));
  CHECK_FALSE(encode_exec_spec(spec));
}

TEST_CASE("an order survives encoding and is accepted in its exact length only") {
  auto order = sample_order();
  auto bytes = encode_order(order);
  REQUIRE(bytes);
  auto decoded = decode_order(*bytes);
  REQUIRE(decoded);
  CHECK(*decoded == order);
  refuses_every_other_length(*bytes, [](const std::vector<std::uint8_t>& cut) {
    order_view view;
    return !decode_order(cut, view);
  });
  survives_noise(
      *bytes, [](const auto& noisy) { return decode_order(noisy); },
      [](const auto& decoded_order) { return encode_order(decoded_order); });
}

TEST_CASE("an order's cpusets are found by slot and rank") {
  auto bytes = encode_order(sample_order());
  REQUIRE(bytes);
  order_view view;
  REQUIRE_FALSE(decode_order(*bytes, view));
  CHECK(view.cpuset_word(0, 0, 0) == 1);
  CHECK(view.cpuset_word(0, 1, 0) == 2);
  CHECK(view.cpuset_word(1, 0, 0) == 4);
  CHECK(view.cpuset_word(1, 1, 1) == 1);
}

TEST_CASE("an order may number its ranks, and tell how many tasks each node has") {
  auto order = sample_order();
  order.ranks = {4, 7};
  order.node_tasks = {1, 2, 2, 3};
  const auto bytes = encode_order(order);
  REQUIRE(bytes);
  CHECK(*decode_order(*bytes) == order);
  order_view view;
  REQUIRE_FALSE(decode_order(*bytes, view));
  CHECK(view.rank_of(1) == 7);
  CHECK(view.tasks_on(3) == 3);
  refuses_every_other_length(*bytes, [](const auto& other) { return bool(decode_order(other)); });
  survives_noise(
      *bytes, [](const auto& noisy) { return decode_order(noisy); },
      [](const auto& decoded_order) { return encode_order(decoded_order); });
  const auto plain = encode_order(sample_order());
  order_view plain_view;
  REQUIRE_FALSE(decode_order(*plain, plain_view));
  CHECK(plain_view.rank_of(1) == 5);
}

TEST_CASE("an order may tell when its job first started") {
  auto order = sample_order();
  order.first_start_ns = 900;
  const auto bytes = encode_order(order);
  REQUIRE(bytes);
  CHECK(*decode_order(*bytes) == order);
  refuses_every_other_length(*bytes, [](const auto& other) { return bool(decode_order(other)); });
  survives_noise(
      *bytes, [](const auto& noisy) { return decode_order(noisy); },
      [](const auto& decoded_order) { return encode_order(decoded_order); });
  order.first_start_ns = -1;
  CHECK_FALSE(encode_order(order));
}

TEST_CASE("an order that breaks a rule is refused") {
  auto refused = [](auto&& change) {
    auto order = sample_order();
    change(order);
    return !encode_order(order);
  };
  CHECK(refused([](launch_order& o) { o.job = 0; }));
  CHECK(refused([](launch_order& o) { o.element_count = 0; }));
  CHECK(refused([](launch_order& o) { o.element_first = 0xfffffffe; }));
  CHECK(refused([](launch_order& o) { o.element_first = no_element; }));
  CHECK(refused([](launch_order& o) { o.window = 0; }));
  CHECK(refused([](launch_order& o) { o.expires_ns += 1; }));
  CHECK(refused([](launch_order& o) { o.expires_ns = o.issued_ns; }));
  CHECK(refused([](launch_order& o) { o.groups = {5, 4}; }));
  CHECK(refused([](launch_order& o) { o.groups = {5, 5}; }));
  CHECK(refused([](launch_order& o) { o.uid = 0xffffffff; }));
  CHECK(refused([](launch_order& o) { o.rank_first = 7; }));
  CHECK(refused([](launch_order& o) { o.node_index = 4; }));
  CHECK(refused([](launch_order& o) { o.cpusets.pop_back(); }));
  CHECK(refused([](launch_order& o) { o.bind_mode = 3; }));
  CHECK(refused([](launch_order& o) { o.ranks = {4}; }));
  CHECK(refused([](launch_order& o) { o.ranks = {4, 8}; }));
  CHECK(refused([](launch_order& o) { o.ranks = {4, 4}; }));
  CHECK(refused([](launch_order& o) { o.ranks = {3, 5}; }));
  CHECK(refused([](launch_order& o) { o.node_tasks = {1, 2, 3}; }));
  CHECK(refused([](launch_order& o) { o.home = std::string(order_path_bytes_max + 1, 'x'); }));
}
