// SPDX-License-Identifier: Apache-2.0
#include "auth/keys.hpp"

#include "base/unique_fd.hpp"

#include <cerrno>
#include <fcntl.h>
#include <stdexcept>
#include <sys/stat.h>

namespace troupe::auth {

namespace {

// A key file is this line's bytes and the 32-byte seed: readable as what it is, of exact length.
constexpr std::string_view key_file_magic = "troupe-secret-key-v1\n";
constexpr std::size_t key_file_size = key_file_magic.size() + 32;

std::string because(const char* what, const std::string& path) {
  return std::string{what} + " '" + path + "': " + std::strerror(errno);
}

std::string directory_of(const std::string& path) {
  auto slash = path.rfind('/');
  if (slash == std::string::npos)
    return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

expected<unique_fd> open_private_directory(const std::string& path) {
  auto dir = directory_of(path);
  unique_fd fd{::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!fd)
    return fail(errc::storage, because("cannot open the key directory", dir));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0)
    return fail(errc::storage, because("cannot examine the key directory", dir));
  if (info.st_uid != ::geteuid() || (info.st_mode & 077) != 0)
    return fail(errc::refused, "the key directory '" + dir +
                                   "' must belong to the running user and be closed to others; "
                                   "run: chmod 700 '" +
                                   dir + "'");
  return fd;
}

expected<void> write_all(int fd, byte_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return fail(errc::storage, because("cannot write", path));
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

expected<void> check_key_file(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0)
    return fail(errc::storage, because("cannot examine the key file", path));
  if (!S_ISREG(info.st_mode))
    return fail(errc::refused, "the key file '" + path + "' is not a regular file");
  if (info.st_uid != ::geteuid())
    return fail(errc::refused, "the key file '" + path + "' belongs to uid " +
                                   std::to_string(info.st_uid) + ", not to the running user (uid " +
                                   std::to_string(::geteuid()) + ")");
  if ((info.st_mode & 077) != 0)
    return fail(errc::refused, "the key file '" + path +
                                   "' can be reached by other users; make a new key, or if nobody "
                                   "read it run: chmod 600 '" +
                                   path + "'");
  if (static_cast<std::size_t>(info.st_size) != key_file_size)
    return fail(errc::invalid, "the key file '" + path + "' has " + std::to_string(info.st_size) +
                                   " bytes where a key has " + std::to_string(key_file_size));
  return {};
}

} // namespace

key_pair key_pair::generate() {
  key_pair result;
  ::crypto_sign_ed25519_keypair(result.public_.data(), result.secret_.data());
  return result;
}

key_pair key_pair::from_seed(std::span<const std::uint8_t, 32> seed) {
  key_pair result;
  ::crypto_sign_ed25519_seed_keypair(result.public_.data(), result.secret_.data(), seed.data());
  return result;
}

signature key_pair::sign(std::string_view purpose, byte_view body) const {
  std::uint8_t framed[domain::length_max + 1 + signed_body_max];
  auto length = frame_for_signing(purpose, body, framed, sizeof framed);
  if (length == 0)
    throw std::length_error{"a body to sign is longer than signed_body_max"};
  signature result;
  ::crypto_sign_ed25519_detached(result.data(), nullptr, framed, length, secret_.data());
  return result;
}

expected<void> write_file_durably(const std::string& path, byte_view bytes, unsigned mode) {
  auto temporary = path + ".new." + std::to_string(::getpid());
  ::unlink(temporary.c_str()); // a left-over of a crashed process with the same id
  unique_fd fd{
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
  if (!fd)
    return fail(errc::storage, because("cannot create", temporary));
  auto written = write_all(fd.get(), bytes, temporary);
  if (written && ::fsync(fd.get()) != 0)
    written = fail(errc::storage, because("cannot sync", temporary));
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
    written = fail(errc::storage, because("cannot put in place", path));
  if (!written) {
    ::unlink(temporary.c_str());
    return written;
  }
  unique_fd dir{::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!dir || ::fsync(dir.get()) != 0)
    return fail(errc::storage, because("cannot sync the directory of", path));
  return {};
}

expected<void> store_key(const std::string& path, const key_pair& key) {
  auto dir = open_private_directory(path);
  if (!dir)
    return tl::unexpected{dir.error()};
  secret_bytes<key_file_size> contents;
  std::memcpy(contents.data(), key_file_magic.data(), key_file_magic.size());
  ::crypto_sign_ed25519_sk_to_seed(contents.data() + key_file_magic.size(), key.secret().data());
  return write_file_durably(path, contents.view(), 0600);
}

expected<key_pair> load_key(const std::string& path) {
  auto dir = open_private_directory(path);
  if (!dir)
    return tl::unexpected{dir.error()};
  // O_NONBLOCK: a FIFO in the file's place must not hold the daemon.
  unique_fd fd{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) {
    auto code = errno == ENOENT ? errc::not_found : errc::refused;
    return fail(code, because("cannot open the key file", path));
  }
  if (auto fit = check_key_file(fd.get(), path); !fit)
    return tl::unexpected{fit.error()};
  secret_bytes<key_file_size> contents;
  if (::read(fd.get(), contents.data(), key_file_size) != static_cast<ssize_t>(key_file_size))
    return fail(errc::storage, because("cannot read the key file", path));
  if (std::memcmp(contents.data(), key_file_magic.data(), key_file_magic.size()) != 0)
    return fail(errc::invalid, "the file '" + path + "' is not a Troupe secret key");
  return key_pair::from_seed(contents.view().subspan<key_file_magic.size(), 32>());
}

expected<public_key> parse_public_key(byte_view bytes) {
  require_sodium();
  public_key key;
  if (bytes.size() != key.size())
    return fail(errc::invalid,
                "a public key has 32 bytes, this one " + std::to_string(bytes.size()));
  std::memcpy(key.data(), bytes.data(), key.size());
  if (!acceptable_public_key(key.data()))
    return fail(errc::refused, "the public key " + to_hex(key) +
                                   " is not canonical or of small order: signatures under it "
                                   "prove nothing");
  return key;
}

std::string to_hex(byte_view bytes) {
  std::string text(bytes.size() * 2 + 1, '\0');
  ::sodium_bin2hex(text.data(), text.size(), bytes.data(), bytes.size());
  text.pop_back();
  return text;
}

expected<std::vector<std::uint8_t>> from_hex(std::string_view text) {
  std::vector<std::uint8_t> bytes(text.size() / 2 + 1); // never an empty buffer for libsodium
  std::size_t length = 0;
  if (text.size() % 2 != 0 || ::sodium_hex2bin(bytes.data(), bytes.size(), text.data(), text.size(),
                                               nullptr, &length, nullptr) != 0)
    return fail(errc::invalid, "'" + std::string{text.substr(0, 80)} + "' is not hexadecimal");
  bytes.resize(length);
  return bytes;
}

std::string to_base64url(byte_view bytes) {
  constexpr int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::string text(sodium_base64_ENCODED_LEN(bytes.size(), variant), '\0');
  ::sodium_bin2base64(text.data(), text.size(), bytes.data(), bytes.size(), variant);
  text.pop_back();
  return text;
}

expected<std::vector<std::uint8_t>> from_base64url(std::string_view text) {
  constexpr int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
  std::vector<std::uint8_t> bytes(text.size() / 4 * 3 + 3);
  std::size_t length = 0;
  const char* end = nullptr;
  if (::sodium_base642bin(bytes.data(), bytes.size(), text.data(), text.size(), nullptr, &length,
                          &end, variant) != 0 ||
      end != text.data() + text.size())
    return fail(errc::invalid, "'" + std::string{text.substr(0, 80)} + "' is not base64url");
  bytes.resize(length);
  return bytes;
}

digest keyed_digest(std::string_view purpose, byte_view bytes) {
  digest result;
  ::crypto_generichash_blake2b(result.data(), result.size(), bytes.data(), bytes.size(),
                               reinterpret_cast<const unsigned char*>(purpose.data()),
                               purpose.size());
  return result;
}

} // namespace troupe::auth
