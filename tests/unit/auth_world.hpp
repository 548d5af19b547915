// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/authority.hpp"
#include "auth/order.hpp"
#include "auth/seal.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>

// A cluster's keys, clock and authority, as the tests of auth need them.

namespace troupe::auth::test {

/// Time that stands still until told.
class manual_clock final : public clock_source {
public:
  utc_ns utc() const override { return utc_; }
  boot_ns boot() const override { return boot_; }
  void advance(std::int64_t ns) {
    utc_ += ns;
    boot_ += ns;
  }
  /// Somebody sets the wall clock; no time passes.
  void set_wall(utc_ns to) { utc_ = to; }
  /// Somebody sets the wall clock.
  void set_wall_by(std::int64_t ns) { utc_ += ns; }

private:
  std::atomic<utc_ns> utc_{1'800'000'000 * ns_per_s};
  std::atomic<boot_ns> boot_{1000 * ns_per_s};
};

using byte_vector = std::vector<std::uint8_t>;

/// A directory that goes with the test.
class scratch_directory {
public:
  scratch_directory() {
    auto pattern = (std::filesystem::temp_directory_path() / "troupe-auth-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;
  ~scratch_directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const char* name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

private:
  std::string path_;
};

/// The seed is in every failure's message.
inline std::uint64_t random_seed() {
  static const std::uint64_t seed = [] {
    const char* given = std::getenv("TROUPE_TEST_SEED");
    auto chosen = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    std::printf("TROUPE_TEST_SEED=%llu\n", static_cast<unsigned long long>(chosen));
    return chosen;
  }();
  return seed;
}

struct world {
  manual_clock clock;
  cluster_id cluster = random_bytes<16>();
  audience here = *audience::parse("controller");
  key_pair root = key_pair::generate();
  key_pair signing_secret = key_pair::generate(); ///< its copy is the authority's
  std::shared_ptr<revocation_state> revocations = std::make_shared<revocation_state>();
  std::shared_ptr<verifier> checks = make_verifier(1, key_state::active);
  key_pair holder = key_pair::generate();

  signing_key signing() const { return {1, &signing_secret}; }

  std::shared_ptr<const keyring> make_ring(std::uint32_t version, key_state state) {
    keyring_contents contents{version, cluster, {{1, state, 0, signing_secret.public_part()}}};
    auto bytes = make_keyring(contents, root);
    REQUIRE(bytes);
    auto ring = keyring::verify(*bytes, root.public_part(), cluster);
    REQUIRE(ring);
    return std::make_shared<const keyring>(*ring);
  }

  std::shared_ptr<verifier> make_verifier(std::uint32_t version, key_state state) {
    verifier_options options;
    options.cluster = cluster;
    options.meant_for = here;
    return std::make_shared<verifier>(options, make_ring(version, state), revocations);
  }

  authority make_authority(authority_options options = {}) {
    options.accounts.admins.insert(1);
    options.accounts.operators.insert(2);
    options.accounts.others_allowed = true;
    secret_bytes<32> seed;
    ::crypto_sign_ed25519_sk_to_seed(seed.data(), signing_secret.secret().data());
    auto made = authority::make(options, key_pair::from_seed(seed.view()), checks, clock);
    REQUIRE(made);
    return std::move(*made);
  }

  /// A user's capability as a login gives it.
  capability user_capability(std::uint32_t uid = 1000) {
    capability made;
    made.key_id = 1;
    made.cluster = cluster;
    made.serial = random_bytes<16>();
    made.who = {subject_kind::user, 1, uid, uid};
    made.holder = holder.public_part();
    made.meant_for = here;
    made.verbs = verbs_of(account_role::user);
    made.not_before = clock.utc();
    made.expires = clock.utc() + 3600 * ns_per_s;
    made.depth_left = 1;
    return made;
  }

  byte_vector issue(const capability& what) { return issue_capability(signing(), what); }

  verified_capability admit(const capability& what) {
    auto admitted = checks->admit_held(issue(what), holder, clock.read());
    if (!admitted)
      FAIL(admitted.error().text);
    return *admitted;
  }
};

/// What refused it; fails the test if nothing did.
template <class T>
reason why(const checked<T>& result) {
  if (result)
    FAIL("this was not refused");
  CHECK(result.error().code == errc::refused);
  CHECK(result.error().text.size() > 10);
  return result.error().why;
}

} // namespace troupe::auth::test

namespace Catch {
template <>
struct StringMaker<troupe::auth::reason> {
  static std::string convert(troupe::auth::reason why) { return troupe::auth::to_string(why); }
};
} // namespace Catch
