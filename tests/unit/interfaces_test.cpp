// SPDX-License-Identifier: Apache-2.0
#include "messages/interfaces.hpp"
#include "runtime/varlink/service_registry.hpp"
#include "tests/catch.hpp"

#include <algorithm>
#include <string>

TEST_CASE("the interface files say what the code does") {
  for (const auto& each : troupe::interface_texts()) {
    const auto files = troupe::varlink::embedded_interfaces();
    const auto file = each.name + ".varlink";
    auto at = std::find_if(files.begin(), files.end(),
                           [&](const auto& embedded) { return embedded.file == file; });
    INFO("write them anew with build/messages/write_interfaces messages/varlink: " << file);
    REQUIRE(at != files.end());
    CHECK(std::string{at->text} == each.text);
  }
}

TEST_CASE("every interface file is well formed") {
  auto made = troupe::varlink::service_registry::make({"Troupe", "trouped", "0", ""},
                                                      troupe::varlink::embedded_interfaces());
  if (!made)
    FAIL(made.error().text);
}
