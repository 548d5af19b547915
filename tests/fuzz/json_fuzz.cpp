// SPDX-License-Identifier: Apache-2.0
#include "messages/json.hpp"
#include "tests/unit/codec_sample.hpp"

#include <cstdlib>

/// Whatever is accepted must be written as JSON that is accepted again and written alike.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using troupe::visibility;
  const auto value =
      troupe::from_json_text<sample::everything>({reinterpret_cast<const char*>(data), size});
  if (!value)
    return 0;
  const auto text = troupe::to_json_text(*value, visibility::operator_);
  const auto again = troupe::from_json_text<sample::everything>(text);
  // An optional that was emptied is left out and reads as its default, so texts are compared once
  // more removed.
  if (!again)
    std::abort();
  const auto settled = troupe::to_json_text(*again, visibility::operator_);
  const auto third = troupe::from_json_text<sample::everything>(settled);
  if (!third || troupe::to_json_text(*third, visibility::operator_) != settled)
    std::abort();
  return 0;
}
