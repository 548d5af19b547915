// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"

#include <array>
#include <cstdio>
#include <string>

namespace {

std::string output_of(const std::string& command) {
  std::string out;
  std::array<char, 4096> part{};
  auto* pipe = ::popen(("(" + command + ") 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  for (std::size_t got = 0; (got = std::fread(part.data(), 1, part.size(), pipe)) > 0;)
    out.append(part.data(), got);
  ::pclose(pipe);
  return out;
}

} // namespace

TEST_CASE("the launcher is static, without the run time of the C++ library") {
  auto headers = output_of("readelf -lW " TROUPE_LAUNCHER);
  CHECK(headers.find("LOAD") != std::string::npos);
  CHECK(headers.find("INTERP") == std::string::npos);
  CHECK(output_of("readelf -dW " TROUPE_LAUNCHER).find("NEEDED") == std::string::npos);
  auto symbols = output_of("nm " TROUPE_LAUNCHER);
  CHECK(symbols.find(" T main") != std::string::npos);
  for (const char* name : {"__cxa_throw", "__gxx_personality", "_ZSt", "_Znwm", "_ZdlPv", "_ZTVN10",
                           "__cxa_pure_virtual", "__cxa_guard_acquire"}) {
    INFO(name);
    CHECK(symbols.find(name) == std::string::npos);
  }
}

TEST_CASE("the launcher's stack is not executable and its relocations are read-only") {
  auto headers = output_of("readelf -lW " TROUPE_LAUNCHER);
  CHECK(headers.find("GNU_RELRO") != std::string::npos);
  CHECK(headers.find("RWE") == std::string::npos);
}

TEST_CASE("bad usage of the launcher is answered with one line and exit code 2") {
  CHECK(output_of(TROUPE_LAUNCHER " run; echo $?").find("are both needed\n2\n") !=
        std::string::npos);
  CHECK(output_of(TROUPE_LAUNCHER " enroll --nodes x; echo $?").find("1-4,7") != std::string::npos);
  CHECK(output_of(TROUPE_LAUNCHER " run --state /nonexistent --socket /nonexistent/s; echo $?")
            .find("run troupe-launcher enroll first") != std::string::npos);
  CHECK(output_of(TROUPE_LAUNCHER " --version").find("troupe-launcher ") == 0);
}
