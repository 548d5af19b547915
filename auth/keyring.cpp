// SPDX-License-Identifier: Apache-2.0
#include "auth/keyring.hpp"

namespace troupe::auth {

namespace {

reason reason_of(keyring_fault fault) {
  switch (fault) {
  case keyring_fault::cluster: return reason::wrong_cluster;
  case keyring_fault::bad_signature: return reason::bad_signature;
  case keyring_fault::bad_key: return reason::bad_key;
  case keyring_fault::rollback: return reason::replayed;
  default: return reason::malformed;
  }
}

tl::unexpected<refusal> refuse_keyring(keyring_fault fault) {
  return refuse(reason_of(fault), std::string{"the keyring was refused: "} + to_string(fault));
}

} // namespace

expected<std::vector<std::uint8_t>> make_keyring(const keyring_contents& contents,
                                                 const key_pair& root) {
  auto count = contents.entries.size();
  if (count == 0 || count > keyring_entries_max)
    return fail(errc::invalid, "a keyring holds 1 to 16 keys, this one " + std::to_string(count));
  std::vector<std::uint8_t> bytes(keyring_header_size + count * keyring_entry_size + 64);
  bytes[0] = 1;
  bytes[1] = static_cast<std::uint8_t>(count);
  store_le(bytes.data() + 4, contents.version);
  std::memcpy(bytes.data() + 8, contents.cluster.data(), contents.cluster.size());
  auto* at = bytes.data() + keyring_header_size;
  for (const auto& entry : contents.entries) {
    store_le(at, entry.key_id);
    at[4] = static_cast<std::uint8_t>(entry.state);
    store_le(at + 8, entry.not_after);
    std::memcpy(at + 16, entry.key.data(), entry.key.size());
    at += keyring_entry_size;
  }
  auto sig = root.sign(domain::keyring, byte_view{bytes}.first(bytes.size() - sizeof(signature)));
  std::memcpy(at, sig.data(), sig.size());
  keyring_view view;
  if (auto fault = decode_keyring(bytes, view); fault != keyring_fault::none)
    return fail(errc::invalid, std::string{"the keyring cannot be made: "} + to_string(fault));
  return bytes;
}

checked<keyring> keyring::verify(byte_view bytes, const public_key& root, const cluster_id& cluster,
                                 const keyring* known) {
  require_sodium();
  keyring_view view;
  if (auto fault = decode_keyring(bytes, view); fault != keyring_fault::none)
    return refuse_keyring(fault);
  if (auto fault = verify_keyring(view, root.data(), cluster.data()); fault != keyring_fault::none)
    return refuse_keyring(fault);
  auto in_force = known != nullptr ? known->bytes() : byte_view{};
  if (auto fault = check_keyring_succession(in_force, view); fault != keyring_fault::none)
    return refuse_keyring(fault);
  keyring result;
  result.bytes_.assign(bytes.begin(), bytes.end());
  return result;
}

keyring_contents keyring::contents() const {
  auto ring = view();
  keyring_contents result;
  result.version = ring.version();
  std::memcpy(result.cluster.data(), ring.cluster(), result.cluster.size());
  for (std::size_t i = 0; i < ring.count(); ++i) {
    auto from = ring.entry(i);
    keyring_entry entry{from.key_id, from.state, from.not_after, {}};
    std::memcpy(entry.key.data(), from.key, entry.key.size());
    result.entries.push_back(entry);
  }
  return result;
}

checked<public_key> keyring::key_named(std::uint32_t key_id) const {
  const auto ring = view();
  for (std::size_t i = 0; i < ring.count(); ++i)
    if (const auto entry = ring.entry(i); entry.key_id == key_id) {
      public_key key;
      std::memcpy(key.data(), entry.key, key.size());
      return key;
    }
  return refuse(reason::unknown_key, "the signing key " + std::to_string(key_id) +
                                         " is not in keyring " + std::to_string(version()));
}

checked<public_key> keyring::verifying_key(std::uint32_t key_id, std::int64_t now) const {
  keyring_entry_view entry;
  auto name = "the signing key " + std::to_string(key_id);
  switch (find_verifying_key(view(), key_id, now, entry)) {
  case key_fault::unknown:
    return refuse(reason::unknown_key, name + " is not in keyring " + std::to_string(version()));
  case key_fault::retired: return refuse(reason::retired_key, name + " is retired; log in again");
  case key_fault::expired:
    return refuse(reason::retired_key, name + " is past its end; log in again");
  case key_fault::none: break;
  }
  public_key key;
  std::memcpy(key.data(), entry.key, key.size());
  return key;
}

} // namespace troupe::auth
