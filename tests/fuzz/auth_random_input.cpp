// SPDX-License-Identifier: Apache-2.0
// Runs auth's fuzz target without libFuzzer: bounded, seeded, without a corpus. Half of the inputs
// are well-formed ones with a few bytes changed, so that decoders are entered to their end.
#include "auth/audit_line.hpp"
#include "auth/exec_spec.hpp"
#include "auth/keyring.hpp"
#include "auth/order.hpp"
#include "auth/seal.hpp"
#include "auth/warrant.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>

using namespace troupe;
using namespace troupe::auth;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using byte_vector = std::vector<std::uint8_t>;

template <class Bytes>
byte_vector copy_of(const Bytes& from) {
  return {from.begin(), from.end()};
}

byte_vector good_capability(const key_pair& key, const key_pair& holder) {
  capability x;
  x.who = {subject_kind::user, 1, 1000, 1000};
  x.holder = holder.public_part();
  x.meant_for = *audience::parse("controller");
  x.verbs = verbs_of(account_role::user);
  x.expires = 1000;
  x.depth_left = 1;
  return issue_capability({1, &key}, x);
}

std::vector<byte_vector> good_inputs() {
  auto key = key_pair::generate();
  auto holder = key_pair::generate();
  std::vector<byte_vector> good;
  good.push_back(good_capability(key, holder));
  good.push_back(copy_of(byte_view{good[0]}.first(capability_layout::body_size)));
  job_request request;
  request.not_after = 1;
  good.push_back(copy_of(encode(request)));
  warrant allowed;
  allowed.job = 1;
  allowed.not_after = 1;
  allowed.groups = {1, 2, 3};
  good.push_back(encode(allowed));
  good.push_back(*make_keyring({1, {}, {{1, key_state::active, 0, key.public_part()}}}, holder));
  std::vector<byte_view> bodies(7, byte_view{good[0]});
  auto seals = *seal_batch(domain::order, 1, key.secret().view(), bodies);
  good.insert(good.end(), seals.begin(), seals.end());
  launch_order order;
  order.job = 1;
  order.incarnation = 1;
  order.expires_ns = 1;
  order.groups = {5, 6};
  order.cpu_words = 1;
  order.cpusets = {3};
  order.user = "someone";
  good.push_back(*encode_order(order));
  exec_spec spec;
  spec.argv = {"true", "x"};
  spec.env = {"A=1", "B=2"};
  good.push_back(*encode_exec_spec(spec));
  spec.stdin_path = spec.stdout_path = "|";
  spec.merge_stderr = spec.has_terminal = true;
  good.push_back(*encode_exec_spec(spec));
  auto line =
      audit_detail::format_head(1, 2, {}, "checkpoint") + audit_detail::format_checkpoint({1, {}});
  good.push_back(copy_of(line));
  return good;
}

} // namespace

int main(int argc, char** argv) {
  require_sodium();
  const auto seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random{seed};
  auto below = [&random](std::uint64_t n) { return static_cast<std::size_t>(random() % n); };
  const auto good = good_inputs();
  for (const auto& input : good)
    LLVMFuzzerTestOneInput(input.data(), input.size());
  for (int i = 0; i < 20'000; ++i) {
    byte_vector input;
    if (below(2) == 0) {
      input.resize(below(512));
      for (auto& byte : input)
        byte = static_cast<std::uint8_t>(random());
    } else {
      input = good[below(good.size())];
      for (auto n = below(4); n > 0; --n)
        input[below(input.size())] = static_cast<std::uint8_t>(random());
      if (below(4) == 0)
        input.resize(below(input.size() + 2));
    }
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}
