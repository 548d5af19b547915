// SPDX-License-Identifier: Apache-2.0
// Runs the launcher's fuzz target without libFuzzer: datagrams and batches, most made from good
// ones.
#include "auth/exec_spec.hpp"
#include "auth/order.hpp"
#include "auth/seal.hpp"
#include "runtime/launch/protocol.hpp"

#include <cstdio>
#include <cstdlib>
#include <random>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using namespace troupe;
using byte_vector = std::vector<std::uint8_t>;

void put(byte_vector& out, std::uint32_t value) {
  std::uint8_t bytes[4];
  store_le(bytes, value);
  out.insert(out.end(), bytes, bytes + 4);
}

void put(byte_vector& out, const byte_vector& bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}

byte_vector good_batch(std::mt19937_64& random) {
  auth::exec_spec spec;
  spec.argv = {"true", std::string(random() % 40, 'x')};
  auto spec_bytes = auth::encode_exec_spec(spec).value();
  byte_vector out{0};
  auto orders = 1 + random() % 3;
  put(out, launch::batch_magic);
  put(out, static_cast<std::uint32_t>(orders));
  for (std::uint64_t i = 0; i < orders; ++i) {
    auth::launch_order order;
    order.job = 1 + random() % 5;
    order.element_first = static_cast<std::uint32_t>(random() % 100);
    order.element_count = 1 + static_cast<std::uint32_t>(random() % 100);
    order.expires_ns = 1;
    order.spec_digest = auth::exec_spec_digest(spec_bytes);
    auto bytes = auth::encode_order(order).value();
    byte_vector key(64, 1);
    auto seal = auth::seal_one(auth::domain::order, 1, key, bytes).value();
    put(out, static_cast<std::uint32_t>(bytes.size()));
    put(out, static_cast<std::uint32_t>(seal.size()));
    put(out, 0);
    put(out, bytes);
    put(out, seal);
  }
  put(out, 1);
  put(out, static_cast<std::uint32_t>(spec_bytes.size()));
  put(out, spec_bytes);
  return out;
}

byte_vector random_datagram(std::mt19937_64& random) {
  byte_vector out{1, static_cast<std::uint8_t>(1 + random() % 13), 0, 0, 0, 0, 0, 0, 0};
  static constexpr std::size_t sizes[] = {0, 4, 8, 16, 20, 24, 32, 100};
  out.resize(out.size() + sizes[random() % std::size(sizes)]);
  for (std::size_t i = 9; i < out.size(); ++i)
    out[i] = random() % 3 == 0 ? static_cast<std::uint8_t>(random()) : std::uint8_t{0};
  return out;
}

} // namespace

int main(int argc, char** argv) {
  const auto seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random{seed};
  if (sodium_init() < 0)
    return 1;
  for (int round = 0; round < 20'000; ++round) {
    auto input = random() % 2 == 0 ? good_batch(random) : random_datagram(random);
    for (auto n = random() % 4; n > 0; --n)
      input[1 + random() % (input.size() - 1)] = static_cast<std::uint8_t>(random());
    if (random() % 8 == 0)
      input.resize(1 + random() % input.size());
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}
