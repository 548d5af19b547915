// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"
#include "tests/unit/auth_world.hpp"

#include <sys/stat.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

TEST_CASE("a stored key is loaded as the same key, and the file is closed to others") {
  scratch_directory dir;
  auto path = dir.file("signing.key");
  auto key = key_pair::generate();
  REQUIRE(store_key(path, key));
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);
  auto loaded = load_key(path);
  REQUIRE(loaded);
  CHECK(loaded->public_part() == key.public_part());

  auto other = key_pair::generate();
  REQUIRE(store_key(path, other));
  CHECK(load_key(path)->public_part() == other.public_part());
}

TEST_CASE("a key file that others can reach, a link, a FIFO or a cut file is refused") {
  scratch_directory dir;
  auto path = dir.file("k");
  REQUIRE(store_key(path, key_pair::generate()));

  CHECK(load_key(dir.file("absent")).error().code == errc::not_found);

  REQUIRE(::chmod(path.c_str(), 0640) == 0);
  CHECK(load_key(path).error().code == errc::refused);
  REQUIRE(::chmod(path.c_str(), 0600) == 0);

  REQUIRE(::symlink(path.c_str(), dir.file("link").c_str()) == 0);
  CHECK(load_key(dir.file("link")).error().code == errc::refused);

  REQUIRE(::mkfifo(dir.file("fifo").c_str(), 0600) == 0);
  CHECK(load_key(dir.file("fifo")).error().code == errc::refused);

  REQUIRE(::truncate(path.c_str(), 40) == 0);
  CHECK(load_key(path).error().code == errc::invalid);

  REQUIRE(::chmod(dir.path().c_str(), 0755) == 0);
  CHECK(store_key(dir.file("n"), key_pair::generate()).error().code == errc::refused);
}

TEST_CASE("public keys of small order or not canonical are refused") {
  public_key identity{};
  identity[0] = 1;
  CHECK_FALSE(parse_public_key(identity));
  CHECK_FALSE(parse_public_key(public_key{}));
  auto above_field = public_key{};
  above_field.fill(0xff);
  above_field[31] = 0x7f;
  CHECK_FALSE(parse_public_key(above_field));
  auto good = key_pair::generate().public_part();
  CHECK(parse_public_key(good));
  CHECK_FALSE(parse_public_key(byte_view{good}.first(31)));
}

TEST_CASE("hexadecimal and base64url come back as they were, and nothing else is taken") {
  for (std::size_t n = 0; n < 40; ++n) {
    auto random = random_bytes<40>();
    byte_vector bytes(random.begin(), random.begin() + static_cast<std::ptrdiff_t>(n));
    CHECK(*from_hex(to_hex(bytes)) == bytes);
    CHECK(*from_base64url(to_base64url(bytes)) == bytes);
  }
  CHECK_FALSE(from_hex("abc"));
  CHECK_FALSE(from_hex("zz"));
  CHECK_FALSE(from_base64url("AA=="));
  CHECK_FALSE(from_base64url("A+"));
  CHECK_FALSE(from_base64url("AB")); // bits after the last byte are set
}

TEST_CASE("a signature counts for its own purpose, bytes and canonical form alone") {
  auto key = key_pair::generate();
  byte_vector body{1, 2, 3};
  auto sig = key.sign(domain::capability, body);
  const auto* pk = key.public_part().data();
  CHECK(verify_signature(domain::capability, body, sig.data(), pk));
  CHECK_FALSE(verify_signature(domain::delegation, body, sig.data(), pk));
  body[0] ^= 1;
  CHECK_FALSE(verify_signature(domain::capability, body, sig.data(), pk));
  body[0] ^= 1;

  // S + L is the same number modulo the group order, in other bytes.
  static constexpr std::uint8_t order[] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
                                           0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14};
  unsigned carry = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    carry += sig[32 + i] + (i < 16 ? order[i] : i == 31 ? 0x10u : 0u);
    sig[32 + i] = static_cast<std::uint8_t>(carry);
    carry >>= 8;
  }
  CHECK_FALSE(canonical_signature(sig.data()));
  CHECK_FALSE(verify_signature(domain::capability, body, sig.data(), pk));
}

TEST_CASE("a keyring comes back as it was made, for its own root and cluster only") {
  world w;
  keyring_contents contents{7, w.cluster, {}};
  for (std::uint32_t id : {2u, 3u, 9u})
    contents.entries.push_back({id, id == 3 ? key_state::active : key_state::retiring, id * 5,
                                key_pair::generate().public_part()});
  auto bytes = make_keyring(contents, w.root);
  REQUIRE(bytes);
  auto ring = keyring::verify(*bytes, w.root.public_part(), w.cluster);
  REQUIRE(ring);
  CHECK(ring->contents() == contents);

  CHECK(why(keyring::verify(*bytes, w.holder.public_part(), w.cluster)) == reason::bad_signature);
  CHECK(why(keyring::verify(*bytes, w.root.public_part(), random_bytes<16>())) ==
        reason::wrong_cluster);
}

TEST_CASE("a keyring with any byte altered, one more or one fewer is refused") {
  world w;
  auto ring = w.make_ring(1, key_state::active);
  byte_vector bytes(ring->bytes().begin(), ring->bytes().end());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    auto altered = bytes;
    altered[i] ^= 1;
    INFO("byte " << i);
    CHECK_FALSE(keyring::verify(altered, w.root.public_part(), w.cluster));
  }
  for (std::size_t n = 0; n < bytes.size(); ++n)
    CHECK_FALSE(keyring::verify(byte_view{bytes}.first(n), w.root.public_part(), w.cluster));
  bytes.push_back(0);
  CHECK(why(keyring::verify(bytes, w.root.public_part(), w.cluster)) == reason::malformed);
}

TEST_CASE("an older keyring, or another of the same number, does not replace the one in force") {
  world w;
  auto first = w.make_ring(1, key_state::active);
  auto second = w.make_ring(2, key_state::active);
  auto other_second = w.make_ring(2, key_state::retiring);
  auto try_it = [&](const keyring& offered) {
    return keyring::verify(offered.bytes(), w.root.public_part(), w.cluster, second.get());
  };
  CHECK(why(try_it(*first)) == reason::replayed);
  CHECK(why(try_it(*other_second)) == reason::replayed);
  CHECK(try_it(*second));
  CHECK(try_it(*w.make_ring(3, key_state::active)));
}

TEST_CASE("a keyring with two active keys, falling ids or no key cannot be made") {
  world w;
  auto key = [] { return key_pair::generate().public_part(); };
  auto make = [&](std::vector<keyring_entry> entries) {
    return make_keyring({1, w.cluster, std::move(entries)}, w.root).has_value();
  };
  CHECK_FALSE(make({}));
  CHECK_FALSE(make({{1, key_state::active, 0, key()}, {2, key_state::active, 0, key()}}));
  CHECK_FALSE(make({{2, key_state::active, 0, key()}, {1, key_state::next, 0, key()}}));
  CHECK_FALSE(make({{0, key_state::active, 0, key()}}));
  CHECK_FALSE(make({{1, key_state::active, 0, public_key{}}}));
  CHECK(make({{1, key_state::active, 0, key()}, {2, key_state::next, 0, key()}}));
}

TEST_CASE("a private cluster's keys are made once, and an altered set is told") {
  scratch_directory dir;
  auto path = dir.file("keys");
  auto made = open_private_cluster_keys(path);
  if (!made)
    FAIL(made.error().text);
  auto again = open_private_cluster_keys(path);
  REQUIRE(again);
  CHECK(again->cluster == made->cluster);
  CHECK(again->signing.public_part() == made->signing.public_part());
  CHECK(again->key_id == 1);

  // What is missing is a loss to be told, never a reason to make the others anew.
  REQUIRE(::rename((path + "/root.pub").c_str(), dir.file("kept").c_str()) == 0);
  CHECK(open_private_cluster_keys(path).error().code == errc::not_found);
  REQUIRE(::rename(dir.file("kept").c_str(), (path + "/root.pub").c_str()) == 0);
  CHECK(open_private_cluster_keys(path)->cluster == made->cluster);

  REQUIRE(store_key(path + "/signing-1.key", key_pair::generate()));
  CHECK_FALSE(open_private_cluster_keys(path));
  REQUIRE(::unlink((path + "/signing-1.key").c_str()) == 0);
  CHECK(open_private_cluster_keys(path).error().code == errc::not_found);
}
