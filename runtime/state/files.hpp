// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace troupe::state {

/// What stands at a path below the state directory.
enum class ownership {
  ours,          ///< a file or socket that Troupe makes
  our_folder,    ///< a folder that Troupe makes; what is in it is looked at by itself
  configuration, ///< troupe.toml: a person wrote it
  foreign,       ///< nothing that Troupe makes there
};

/// Whose a path is, by its name below the state directory ("keys/root.key"). This is Troupe's
/// record of its files: a purge removes what stands in it and nothing else.
ownership owner_of(std::string_view path);

/// Paths of what stands directly in a state directory.
inline std::string socket_of(const std::string& directory) {
  return directory + "/socket";
}
inline std::string launcher_socket_of(const std::string& directory) {
  return directory + "/launcher/socket";
}
inline std::string log_of(const std::string& directory) {
  return directory + "/trouped.log";
}
inline std::string configuration_of(const std::string& directory) {
  return directory + "/troupe.toml";
}

} // namespace troupe::state
