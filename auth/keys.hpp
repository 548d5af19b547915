// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "auth/ed25519.hpp"
#include "auth/secret.hpp"
#include "base/error.hpp"

#include <string>
#include <vector>

namespace troupe::auth {

/// An Ed25519 key pair; the secret half stays in locked memory.
class key_pair {
public:
  static key_pair generate();

  /// The key of a 32-byte seed; for tests with a fixed seed and for loading key files.
  static key_pair from_seed(std::span<const std::uint8_t, 32> seed);

  const public_key& public_part() const { return public_; }

  /// Signs `purpose ‖ 0 ‖ body`. The body is within signed_body_max:
  /// every caller has a fixed layout, so longer is a defect (std::length_error).
  signature sign(std::string_view purpose, byte_view body) const;

  /// libsodium's 64-byte secret key, for code that signs by itself (seal.hpp).
  const secret_bytes<64>& secret() const { return secret_; }

private:
  key_pair() = default;

  secret_bytes<64> secret_;
  public_key public_{};
};

/// Writes the secret key to `path` (0600), replacing what is there at once or not at all. The
/// directory must be the caller's own and closed to others (0700).
expected<void> store_key(const std::string& path, const key_pair& key);

/// Reads a secret key file. Refused: a symbolic link, another owner, any access for group or
/// others, another length than one key.
expected<key_pair> load_key(const std::string& path);

/// Writes `bytes` to `path` by a temporary file, fsync and rename, with `mode`, and syncs the
/// directory.
expected<void> write_file_durably(const std::string& path, byte_view bytes, unsigned mode);

/// Checks a public key that came from outside: canonical and not of small order.
expected<public_key> parse_public_key(byte_view bytes);

/// Random bytes from the kernel's generator.
template <std::size_t N>
fixed_bytes<N> random_bytes() {
  require_sodium();
  fixed_bytes<N> result;
  ::randombytes_buf(result.data(), N);
  return result;
}

/// Lower-case hexadecimal.
std::string to_hex(byte_view bytes);
/// The inverse of to_hex; refuses other characters and odd lengths.
expected<std::vector<std::uint8_t>> from_hex(std::string_view text);
/// base64url without padding (RFC 4648, section 5).
std::string to_base64url(byte_view bytes);
/// The inverse of to_base64url; refuses padding, other alphabets and non-canonical endings.
expected<std::vector<std::uint8_t>> from_base64url(std::string_view text);

/// BLAKE2b-256 of `bytes`, keyed with a domain's name.
digest keyed_digest(std::string_view purpose, byte_view bytes);

} // namespace troupe::auth
