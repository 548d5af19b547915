// SPDX-License-Identifier: Apache-2.0
// Runs the fuzz target of workload logs without libFuzzer: logs made well and then changed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::string some_number(std::mt19937_64& random) {
  switch (random() % 12) {
  case 0: return "-1";
  case 1: return "0";
  case 2: return std::to_string(random());
  case 3: return "100000000000";
  case 4: return std::to_string(random() % 100) + ".0";
  default: return std::to_string(random() % 100);
  }
}

std::string some_log(std::mt19937_64& random) {
  std::string text{static_cast<char>(random())};
  for (auto lines = random() % 30; lines > 0; --lines) {
    if (random() % 10 == 0)
      text += "; a comment\n";
    auto fields = random() % 20 == 0 ? random() % 40 : 18;
    for (std::uint64_t i = 0; i < fields; ++i)
      text += some_number(random) + (random() % 9 == 0 ? "\t" : " ");
    text += random() % 9 == 0 ? "\r\n" : "\n";
  }
  for (auto n = random() % 4; n > 0; --n)
    text[random() % text.size()] = static_cast<char>(random());
  if (random() % 4 == 0)
    text.resize(random() % (text.size() + 1));
  return text;
}

} // namespace

int main(int argc, char** argv) {
  const auto seed = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random{seed};
  for (int i = 0; i < 20'000; ++i) {
    const auto input = some_log(random);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  }
}
