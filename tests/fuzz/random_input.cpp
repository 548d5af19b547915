// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: a bounded number of inputs, some random, some changed from
// good ones.
#include "messages/cbor.hpp"
#include "messages/json.hpp"
#include "tests/unit/codec_sample.hpp"

#include <cstdio>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using byte_vector = std::vector<std::uint8_t>;

byte_vector good_input(sample::maker& make) {
  const auto value = make.make();
  if (make.below(2) == 0)
    return troupe::to_cbor(value);
  const auto text = troupe::to_json_text(value, troupe::visibility::operator_);
  return {text.begin(), text.end()};
}

byte_vector next_input(sample::maker& make) {
  auto input = good_input(make);
  if (make.below(8) == 0)
    input.resize(make.below(64));
  for (auto n = make.below(6); n > 0 && !input.empty(); --n)
    input[make.below(input.size())] = static_cast<std::uint8_t>(make.below(256));
  if (make.below(4) == 0)
    input.resize(make.below(input.size() + 1));
  return input;
}

} // namespace

int main(int argc, char** argv) {
  const auto seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  sample::maker make{seed};
  for (int i = 0; i < 20'000; ++i) {
    const auto input = next_input(make);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
}
