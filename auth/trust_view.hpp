// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

// How a launcher's trust record (tools/launcher/trust.cpp) begins. Freestanding.

namespace troupe::auth {

inline constexpr std::uint32_t trust_magic = 0x31545254; // "TRT1"

struct trust_head {
  std::uint32_t magic = 0;
  std::uint32_t mode = 0;
  std::uint8_t cluster_id[16] = {};
  std::uint8_t root_key[32] = {}; ///< who signs the keyrings that the launcher obeys
};
static_assert(sizeof(trust_head) == 56);

} // namespace troupe::auth
