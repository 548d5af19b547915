// SPDX-License-Identifier: Apache-2.0
#include "runtime/state/records.hpp"

#include "auth/cluster_keys.hpp"
#include "auth/trust_view.hpp"
#include "base/unique_fd.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace troupe::state {

namespace {

constexpr std::size_t record_bytes_max = 8192;
constexpr std::string_view mark_line = "troupe state 1";

/// A small file's bytes; nothing when it is not there.
expected<std::optional<std::string>> read_record(const std::string& path) {
  const unique_fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (!file && errno == ENOENT)
    return std::optional<std::string>{};
  std::array<char, record_bytes_max> text{};
  const auto got = file ? ::read(file.get(), text.data(), text.size()) : -1;
  if (got < 0)
    return fail(errc::storage, "cannot read " + path + ": " + std::strerror(errno));
  return std::optional{std::string{text.data(), static_cast<std::size_t>(got)}};
}

expected<void> write_record(const std::string& path, const std::string& text) {
  return auth::write_file_durably(path, as_bytes(text), 0600);
}

bool exists(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

bool has_content(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0 && found.st_size > 0;
}

tl::unexpected<error> contradiction(const std::string& directory, const std::string& what,
                                    const std::string& to_do) {
  return fail(errc::invalid, "the state directory " + directory + " contradicts itself: " + what +
                                 "; nothing was changed: " + to_do);
}

constexpr auto restore_it =
    "put back what is missing from a backup, or move the directory away to begin anew";

/// The launcher obeys one root key; it must be this cluster's.
expected<void> check_trust(const std::string& directory, const auth::cluster_keys& keys) {
  const auto path = directory + "/launcher/trust";
  auto bytes = read_record(path);
  if (!bytes)
    return tl::unexpected{bytes.error()};
  if (!*bytes)
    return exists(directory + "/launcher/keyring")
               ? expected<void>{contradiction(
                     directory, "launcher/keyring is there, launcher/trust is not",
                     "put launcher/trust back from a backup, or remove launcher/keyring too")}
               : expected<void>{};
  auth::trust_head record;
  if ((*bytes)->size() < sizeof record)
    return contradiction(
        directory, "launcher/trust is damaged",
        "remove launcher/trust and launcher/keyring; they are made again from keys");
  std::memcpy(static_cast<void*>(&record), (*bytes)->data(), sizeof record);
  if (std::memcmp(record.root_key, keys.root.data(), sizeof record.root_key) != 0 ||
      std::memcmp(record.cluster_id, keys.cluster.data(), sizeof record.cluster_id) != 0)
    return contradiction(directory,
                         "its launcher obeys another cluster than the one whose keys are in keys",
                         "put the right keys back from a backup, or, if these are right, remove "
                         "launcher/trust and launcher/keyring");
  return {};
}

} // namespace

// -- shape --------------------------------------------------------------------------

expected<std::optional<shape>> read_shape(const std::string& directory) {
  const auto path = directory + "/shape";
  auto text = read_record(path);
  if (!text)
    return tl::unexpected{text.error()};
  if (!*text)
    return std::optional<shape>{};
  shape result;
  std::istringstream in{**text};
  std::string nodes, cores, rest;
  in >> nodes >> result.nodes >> cores >> result.cores;
  const auto good = in.good() && nodes == "nodes" && cores == "cores" && result.nodes != 0 &&
                    result.cores != 0 && (*text)->ends_with('\n');
  std::getline(in, rest); // the end of that line
  constexpr std::string_view key = "config ";
  while (std::getline(in, rest))
    if (rest.starts_with(key))
      result.config = rest.substr(key.size());
  if (!good)
    return fail(errc::invalid, path + " is damaged, so that the cluster's size and its "
                                      "configuration are not known; remove it and give 'troupe up' "
                                      "--nodes, --cores and --config again");
  return std::optional{std::move(result)};
}

expected<void> write_shape(const std::string& directory, const shape& of) {
  if (of.config.find('\n') != std::string::npos)
    return fail(errc::invalid, "the configuration's path has a line break in it; rename the file");
  auto text = "nodes " + std::to_string(of.nodes) + " cores " + std::to_string(of.cores) + "\n";
  if (!of.config.empty())
    text += "config " + of.config + "\n";
  return write_record(directory + "/shape", text);
}

// -- the mark -----------------------------------------------------------------------

expected<std::optional<mark>> read_mark(const std::string& directory) {
  const auto path = directory + "/cluster";
  auto text = read_record(path);
  if (!text)
    return tl::unexpected{text.error()};
  if (!*text)
    return std::optional<mark>{};
  std::istringstream in{**text};
  std::string line;
  if (!std::getline(in, line) || line != mark_line)
    return fail(errc::invalid,
                path + " is not Troupe's, or of a newer Troupe; choose another state directory by "
                       "TROUPE_STATE_DIR, or move the file away");
  mark result;
  constexpr std::string_view key = "cluster ";
  while (std::getline(in, line)) {
    if (line.starts_with(key))
      result.cluster = line.substr(key.size());
    result.has_ledger = result.has_ledger || line == "ledger";
    result.has_head = result.has_head || line == "head";
  }
  return std::optional{std::move(result)};
}

expected<void> write_mark(const std::string& directory, const mark& of) {
  auto text = std::string{mark_line} + "\n";
  if (!of.cluster.empty())
    text += "cluster " + of.cluster + "\n";
  if (of.has_ledger)
    text += "ledger\n";
  if (of.has_head)
    text += "head\n";
  return write_record(directory + "/cluster", text);
}

// -- a purge ------------------------------------------------------------------------

// An empty file, which needs next to no room: a purge may be what a full disk needs.
expected<void> begin_purge(const std::string& directory) {
  const auto path = directory + "/purging";
  const unique_fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file && (errno == ENOSPC || errno == EDQUOT))
    return {};
  const unique_fd folder{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!file || !folder || ::fsync(folder.get()) != 0)
    return fail(errc::storage, "cannot make the file " + path + ": " + std::strerror(errno));
  return {};
}

bool is_being_purged(const std::string& directory) {
  return exists(directory + "/purging");
}

error purge_was_interrupted(const std::string& directory) {
  return {errc::conflict,
          "a purge of " + directory + " was interrupted; run 'troupe down --purge' again"};
}

// -- the daemon's process -----------------------------------------------------------

namespace {

/// Over what is there: that takes no space.
bool write_in_place(const std::string& path, const std::string& text) {
  const unique_fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  const auto size = static_cast<ssize_t>(text.size());
  return file && ::pwrite(file.get(), text.data(), text.size(), 0) == size &&
         ::ftruncate(file.get(), size) == 0;
}

} // namespace

expected<void> write_pid(const std::string& directory) {
  const auto path = directory + "/trouped.pid";
  const auto text = std::to_string(::getpid()) + "\n";
  auto written = write_record(path, text);
  if (written || write_in_place(path, text))
    return {};
  remove_pid(directory);
  return written;
}

void remove_pid(const std::string& directory) {
  ::unlink((directory + "/trouped.pid").c_str());
}

// -- does it fit together? ------------------------------------------------------------

expected<mark> check_whole(const std::string& directory) {
  if (is_being_purged(directory))
    return tl::unexpected{purge_was_interrupted(directory)};
  auto known = read_mark(directory);
  if (!known)
    return tl::unexpected{known.error()};
  const auto there = [&](const char* name) { return exists(directory + "/" + name); };
  const auto began = there("ledger.db") || there("audit.log") || there("launcher/trust") ||
                     (*known && !(*known)->cluster.empty());
  if (!auth::has_any_key(directory + "/keys")) {
    if (began)
      return contradiction(directory, "there is a cluster's state, but its keys are gone (keys)",
                           restore_it);
    return known->value_or(mark{});
  }
  auto keys = auth::load_cluster_keys(directory + "/keys");
  if (!keys)
    return contradiction(directory, keys.error().text, restore_it);
  const auto cluster = auth::to_hex(keys->cluster);
  if (*known && !(*known)->cluster.empty() && (*known)->cluster != cluster)
    return contradiction(
        directory, "it is of cluster " + (*known)->cluster + ", its keys are of cluster " + cluster,
        restore_it);
  if (auto good = check_trust(directory, *keys); !good)
    return tl::unexpected{good.error()};
  // An earlier release left no mark: what it had made by then says whether there was a ledger.
  const auto had_ledger = *known ? (*known)->has_ledger : has_content(directory + "/audit.log");
  if (had_ledger && !has_content(directory + "/ledger.db"))
    return contradiction(directory, "the ledger (ledger.db) is gone or empty",
                         "put a backup there as ledger.db if there is one; 'troupe ledger rebuild' "
                         "then makes a ledger of it, or an empty one, whose job numbers go on");
  return mark{cluster, had_ledger, *known && (*known)->has_head};
}

} // namespace troupe::state
