// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/keyring.hpp"

#include <memory>

namespace troupe::auth {

/// The key material of a cluster whose authority runs here: what `troupe up` makes on its first
/// start. In a private cluster the root key lies beside the others; elsewhere it is kept offline.
struct cluster_keys {
  cluster_id cluster{};
  public_key root{};        ///< what launchers trust: it signs keyrings and nothing else
  key_pair signing;         ///< the keyring's active key
  std::uint32_t key_id = 0; ///< its number
  std::shared_ptr<const keyring> ring;
};

/// Loads what is in `directory` (root.pub, keyring, signing-N.key), verified.
expected<cluster_keys> load_cluster_keys(const std::string& directory);

/// Whether anything of a cluster's keys is in `directory`, though it be only a part of them.
bool has_any_key(const std::string& directory);

/// Loads, or on the first start makes, the keys of a private cluster. The directory (0700) appears
/// with all of them or not at all; its parent must exist. Where there is any key none is made: what
/// is missing is an error.
expected<cluster_keys> open_private_cluster_keys(const std::string& directory);

} // namespace troupe::auth
