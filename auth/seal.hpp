// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/seal_view.hpp"
#include "base/error.hpp"

#include <span>
#include <string_view>
#include <vector>

namespace troupe::auth {

/// Signs all `bodies` (1 to 65,536) at once; answers one encoded seal per body, in their order.
/// `secret_key` is libsodium's 64-byte Ed25519 secret key; `key_id` 0 says that the verifier knows
/// the key from elsewhere. `purpose` is one of auth/domain.hpp.
expected<std::vector<std::vector<std::uint8_t>>> seal_batch(std::string_view purpose,
                                                            std::uint32_t key_id,
                                                            byte_view secret_key,
                                                            std::span<const byte_view> bodies);

/// `seal_batch` for one body.
expected<std::vector<std::uint8_t>> seal_one(std::string_view purpose, std::uint32_t key_id,
                                             byte_view secret_key, byte_view body);

/// Decodes `seal` and checks it over `body`; refused (errc::refused) with a sentence otherwise.
expected<void> verify_seal_bytes(std::string_view purpose, byte_view seal, byte_view body,
                                 byte_view key, seal_cache& cache);

} // namespace troupe::auth
