// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace troupe::state {

/// How large a private cluster is, so that 'troupe up' after a crash needs no options. Written by
/// trouped when it has everything that it needs to serve.
struct shape {
  std::uint32_t nodes = 1;
  std::uint32_t cores = 1; ///< of each node
  std::string config = {}; ///< the configuration's file, as it was named; "": none was

  bool operator==(const shape&) const = default;
};

/// What the last cluster here was; nothing when there was none. errc::invalid for a file that is
/// not as we write it: it is not passed over, for the next start would be another cluster.
expected<std::optional<shape>> read_shape(const std::string& directory);
expected<void> write_shape(const std::string& directory, const shape& of);

/// Troupe's mark on its state directory, and what must be there from then on.
struct mark {
  std::string cluster; ///< its id in hexadecimal; "": its keys are still to be made
  bool has_ledger = false;
  bool has_head = false; ///< beside its ledger; releases up to 0.1 made none

  bool operator==(const mark&) const = default;
};
expected<std::optional<mark>> read_mark(const std::string& directory);
expected<void> write_mark(const std::string& directory, const mark& of);

/// Says of the directory, before anything in it is removed, that it is being purged: until the last
/// of it is gone only a purge may go on there. An error is of a disk that is not only full.
expected<void> begin_purge(const std::string& directory);
bool is_being_purged(const std::string& directory);
/// What is to be said of one that is.
error purge_was_interrupted(const std::string& directory);

/// Which process serves: for people and their scripts. Who lives is answered by the locks. Where it
/// cannot be written there is no such file, rather than one that names a process of the past.
expected<void> write_pid(const std::string& directory);
void remove_pid(const std::string& directory);

/// Sees that what is in the directory fits together, before anything in it is opened or made: a
/// start must not put something new in the place of what is only missing. Errors say what to do.
/// Answers the mark, which a directory of an earlier release gets now.
expected<mark> check_whole(const std::string& directory);

} // namespace troupe::state
