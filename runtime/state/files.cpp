// SPDX-License-Identifier: Apache-2.0
#include "runtime/state/files.hpp"

#include <algorithm>
#include <array>

namespace troupe::state {

namespace {

// '#' stands for a decimal number. A name that ends in '/' is a folder. What is written durably
// has, until it is renamed into its place, the name with ".new.#" behind it.
struct known_name {
  std::string_view name;
  bool written_beside = false;
};

constexpr std::array known_names{
    known_name{"audit.log"},
    known_name{"cluster", true},
    known_name{"ledger.db"},
    known_name{"ledger.db-wal"},
    known_name{"ledger.db-shm"},
    known_name{"ledger.db-journal"},
    known_name{"ledger.db.ballast"},
    known_name{"ledger.db.head"},
    known_name{"ledger.db.head.new"},
    known_name{"ledger.db.new"},
    known_name{"ledger.db.before-#"},
    known_name{"ledger.db.before-#-wal"},
    known_name{"lock"},
    known_name{"purging"},
    known_name{"shape", true},
    known_name{"socket"},
    known_name{"socket.lock"},
    known_name{"trouped.lock"},
    known_name{"trouped.log"},
    known_name{"trouped.pid", true},
    known_name{"keys/"},
    known_name{"keys/root.key", true},
    known_name{"keys/root.pub", true},
    known_name{"keys/signing-#.key", true},
    known_name{"keys/keyring", true},
    known_name{"keys/revocations", true},
    known_name{"keys.new.#/"},
    known_name{"keys.new.#/root.key", true},
    known_name{"keys.new.#/root.pub", true},
    known_name{"keys.new.#/signing-#.key", true},
    known_name{"keys.new.#/keyring", true},
    known_name{"launcher/"},
    known_name{"launcher/trust"},
    known_name{"launcher/.trust.new"},
    known_name{"launcher/keyring"},
    known_name{"launcher/.keyring.new"},
    known_name{"launcher/running"},
    known_name{"launcher/orders"},
    known_name{"launcher/orders.old"},
    known_name{"launcher/socket"},
    known_name{"launcher/lock"},
    known_name{"launcher/launcher.log"},
    known_name{"spool/"},
    known_name{"spool/#/"},
    known_name{"spool/#/#/"},
    known_name{"spool/#/#/#.#.#.#.out"},
    known_name{"spool/#/#/#.#.#.#.err"},
};

constexpr bool is_digit(char c) {
  return '0' <= c && c <= '9';
}

/// Takes what a pattern stands for from the front of `text`; what is left, or nothing if it is not
/// there.
bool take(std::string_view& text, std::string_view pattern) {
  for (const auto c : pattern) {
    if (text.empty() || (c == '#' ? !is_digit(text.front()) : text.front() != c))
      return false;
    const auto end =
        c == '#' ? std::find_if_not(text.begin(), text.end(), is_digit) : text.begin() + 1;
    text.remove_prefix(static_cast<std::size_t>(end - text.begin()));
  }
  return true;
}

bool matches(std::string_view text, const known_name& known) {
  if (!take(text, known.name))
    return false;
  return text.empty() || (known.written_beside && take(text, ".new.#") && text.empty());
}

} // namespace

ownership owner_of(std::string_view path) {
  if (path == "troupe.toml")
    return ownership::configuration;
  for (const auto& known : known_names) {
    if (known.name.ends_with('/')) {
      if (matches(path, {known.name.substr(0, known.name.size() - 1)}))
        return ownership::our_folder;
    } else if (matches(path, known)) {
      return ownership::ours;
    }
  }
  return ownership::foreign;
}

} // namespace troupe::state
