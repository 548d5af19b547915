// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/unique_fd.hpp"

#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace troupe::auth {

/// The system's journal, by its own datagrams (systemd.io/JOURNAL_NATIVE_PROTOCOL): no library, and
/// nothing where there is no journal. Never waits.
class system_journal {
public:
  static constexpr std::string_view usual_socket = "/run/systemd/journal/socket";

  explicit system_journal(std::string socket) : socket_{std::move(socket)} {}

  /// One entry; names are of [A-Z0-9_], values are one line. False when nobody took it.
  bool tell(std::span<const std::pair<std::string_view, std::string>> fields) const;

private:
  std::string socket_;
};

} // namespace troupe::auth
