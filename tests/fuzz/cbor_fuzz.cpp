// SPDX-License-Identifier: Apache-2.0
#include "messages/cbor.hpp"
#include "tests/unit/codec_sample.hpp"

#include <cstdlib>

/// Whatever is accepted must encode to something that decodes to the same bytes again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto value = troupe::from_cbor<sample::everything>({data, size});
  if (!value)
    return 0;
  const auto bytes = troupe::to_cbor(*value);
  const auto again = troupe::from_cbor<sample::everything>(bytes);
  if (!again || troupe::to_cbor(*again) != bytes)
    std::abort();
  return 0;
}
