// SPDX-License-Identifier: Apache-2.0
#include "auth/held_capability.hpp"

#include "base/unique_fd.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace troupe::auth {

namespace {

constexpr std::size_t seed_size = 32;
constexpr std::size_t chain_at = held_capability_magic.size() + seed_size;
constexpr std::size_t file_size_max = chain_at + capability_size + delegation_size;
using file_bytes = secret_bytes<file_size_max>;

std::string because(const char* what, const std::string& path) {
  return std::string{what} + " '" + path + "': " + std::strerror(errno);
}

expected<void> check_file(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0)
    return fail(errc::storage, because("cannot examine the capability file", path));
  if (!S_ISREG(info.st_mode))
    return fail(errc::refused, "the capability file '" + path + "' is not a regular file");
  if (info.st_uid != ::geteuid())
    return fail(errc::refused, "the capability file '" + path + "' belongs to uid " +
                                   std::to_string(info.st_uid) + ", not to you (uid " +
                                   std::to_string(::geteuid()) + ")");
  if ((info.st_mode & 077) != 0)
    return fail(errc::refused, "the capability file '" + path +
                                   "' can be reached by other users; make a new one, or if nobody "
                                   "read it run: chmod 600 '" +
                                   path + "'");
  return {};
}

public_key holder_of(byte_view chain) {
  const auto* body = chain.data();
  if (chain.size() > capability_size)
    body += capability_size + sizeof(digest);
  public_key key;
  std::memcpy(key.data(), body + capability_layout::holder, key.size());
  return key;
}

} // namespace

std::optional<byte_view> chain_of_held(byte_view file) {
  const bool fits = file.size() == chain_at + capability_size || file.size() == file_size_max;
  if (!fits || as_text(file.first(held_capability_magic.size())) != held_capability_magic)
    return std::nullopt;
  return file.subspan(chain_at);
}

expected<void> store_held_capability(const std::string& path, const held_capability& what) {
  if (auto fits = split_chain(what.chain); !fits)
    return tl::unexpected<error>{fits.error()};
  file_bytes contents;
  auto* at = contents.data();
  std::memcpy(at, held_capability_magic.data(), held_capability_magic.size());
  ::crypto_sign_ed25519_sk_to_seed(at + held_capability_magic.size(), what.holder.secret().data());
  std::memcpy(at + chain_at, what.chain.data(), what.chain.size());
  const auto bytes = byte_view{contents.view()}.first(chain_at + what.chain.size());
  // Not replaced, and through no link: a name that somebody else prepared is refused.
  unique_fd fd{::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!fd)
    return fail(errno == EEXIST ? errc::conflict : errc::storage,
                because("cannot create the capability file", path));
  const auto written = ::write(fd.get(), bytes.data(), bytes.size());
  if (written == static_cast<ssize_t>(bytes.size()))
    return {};
  auto why = because("cannot write the capability file", path);
  ::unlink(path.c_str());
  return fail(errc::storage, std::move(why));
}

expected<held_capability> load_held_capability(const std::string& path) {
  // O_NONBLOCK: a FIFO in the file's place must not hold the caller.
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  if (!fd)
    return fail(errno == ENOENT ? errc::not_found : errc::refused,
                because("cannot open the capability file", path));
  if (auto fit = check_file(fd.get(), path); !fit)
    return tl::unexpected{fit.error()};
  secret_bytes<file_size_max + 1> contents; // one more shows what is too long
  const auto got = ::read(fd.get(), contents.data(), contents.size());
  if (got < 0)
    return fail(errc::storage, because("cannot read the capability file", path));
  const auto file = byte_view{contents.view()}.first(static_cast<std::size_t>(got));
  const auto chain = chain_of_held(file);
  if (!chain)
    return fail(errc::invalid, "the file '" + path +
                                   "' is not a Troupe capability with its key; "
                                   "'troupe cap attenuate' makes one");
  held_capability result{
      {chain->begin(), chain->end()},
      key_pair::from_seed(contents.view().subspan<held_capability_magic.size(), seed_size>())};
  if (holder_of(result.chain) != result.holder.public_part())
    return fail(errc::invalid,
                "the key in the file '" + path + "' does not hold the capability beside it");
  return result;
}

} // namespace troupe::auth
