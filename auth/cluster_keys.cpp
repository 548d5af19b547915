// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"

#include "base/unique_fd.hpp"

#include <algorithm>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

namespace troupe::auth {

namespace {

constexpr std::string_view root_public_name = "/root.pub";
constexpr std::string_view root_secret_name = "/root.key";
constexpr std::string_view keyring_name = "/keyring";

std::string signing_path(const std::string& directory, std::uint32_t key_id) {
  return directory + "/signing-" + std::to_string(key_id) + ".key";
}

expected<std::vector<std::uint8_t>> read_small_file(const std::string& path,
                                                    std::size_t bytes_max) {
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  if (!fd)
    return fail(errno == ENOENT ? errc::not_found : errc::storage,
                "cannot open '" + path + "': " + std::strerror(errno));
  std::vector<std::uint8_t> bytes(bytes_max + 1);
  auto n = ::read(fd.get(), bytes.data(), bytes.size());
  if (n < 0)
    return fail(errc::storage, "cannot read '" + path + "': " + std::strerror(errno));
  if (static_cast<std::size_t>(n) > bytes_max)
    return fail(errc::invalid,
                "'" + path + "' is longer than " + std::to_string(bytes_max) + " bytes");
  bytes.resize(static_cast<std::size_t>(n));
  return bytes;
}

/// root.pub is the cluster's id and its root key.
expected<void> write_private_keys(const std::string& directory) {
  auto root = key_pair::generate();
  auto signing = key_pair::generate();
  auto cluster = random_bytes<16>();
  auto ring = make_keyring({1, cluster, {{1, key_state::active, 0, signing.public_part()}}}, root);
  if (!ring)
    return tl::unexpected{ring.error()};
  fixed_bytes<16 + 32> trust{};
  std::copy(root.public_part().begin(), root.public_part().end(),
            std::copy(cluster.begin(), cluster.end(), trust.begin()));
  return store_key(directory + std::string{root_secret_name}, root)
      .and_then([&] { return store_key(signing_path(directory, 1), signing); })
      .and_then(
          [&] { return write_file_durably(directory + std::string{keyring_name}, *ring, 0600); })
      .and_then([&] {
        return write_file_durably(directory + std::string{root_public_name}, trust, 0600);
      });
}

} // namespace

expected<cluster_keys> load_cluster_keys(const std::string& directory) {
  require_sodium();
  auto trust = read_small_file(directory + std::string{root_public_name}, 48);
  if (!trust)
    return tl::unexpected{trust.error()};
  if (trust->size() != 48)
    return fail(errc::invalid, "'" + directory + "/root.pub' does not hold a cluster id and a key");
  auto root = parse_public_key(byte_view{*trust}.subspan(16));
  if (!root)
    return tl::unexpected{root.error()};
  cluster_id cluster;
  std::memcpy(cluster.data(), trust->data(), cluster.size());
  auto bytes = read_small_file(directory + std::string{keyring_name}, keyring_size_max);
  if (!bytes)
    return tl::unexpected{bytes.error()};
  auto ring = keyring::verify(*bytes, *root, cluster);
  if (!ring)
    return tl::unexpected<error>{ring.error()};
  for (const auto& entry : ring->contents().entries) {
    if (entry.state != key_state::active)
      continue;
    auto signing = load_key(signing_path(directory, entry.key_id));
    if (!signing)
      return tl::unexpected{signing.error()};
    if (signing->public_part() != entry.key)
      return fail(errc::invalid, "'" + signing_path(directory, entry.key_id) +
                                     "' is not the key that the keyring names active");
    return cluster_keys{cluster, *root, std::move(*signing), entry.key_id,
                        std::make_shared<const keyring>(std::move(*ring))};
  }
  return fail(errc::invalid, "no key of the keyring in '" + directory + "' is active");
}

bool has_any_key(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> list{::opendir(directory.c_str()), ::closedir};
  while (const auto* one = list ? ::readdir(list.get()) : nullptr) {
    const std::string name = std::string{"/"} + one->d_name;
    if (name == root_public_name || name == root_secret_name || name == keyring_name ||
        name.starts_with("/signing-"))
      return true;
  }
  return false;
}

namespace {

/// Beside their place, and then all at once in it.
expected<void> make_private_keys(const std::string& directory) {
  const auto beside = directory + ".new." + std::to_string(::getpid());
  if (::mkdir(beside.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(errc::storage,
                "cannot make the key directory '" + beside + "': " + std::strerror(errno));
  if (auto written = write_private_keys(beside); !written)
    return written;
  if (::rename(beside.c_str(), directory.c_str()) != 0)
    return fail(errc::storage, "cannot put the keys in place as '" + directory +
                                   "': " + std::strerror(errno) +
                                   "; if something else is there, move it away");
  const unique_fd parent{::open((directory + "/..").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!parent || ::fsync(parent.get()) != 0)
    return fail(errc::storage,
                "cannot sync the directory of '" + directory + "': " + std::strerror(errno));
  return {};
}

} // namespace

expected<cluster_keys> open_private_cluster_keys(const std::string& directory) {
  if (!has_any_key(directory))
    if (auto made = make_private_keys(directory); !made)
      return tl::unexpected{made.error()};
  return load_cluster_keys(directory);
}

} // namespace troupe::auth
