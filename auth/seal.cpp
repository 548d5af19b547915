// SPDX-License-Identifier: Apache-2.0
#include "auth/seal.hpp"

#include <string>

namespace troupe::auth {

namespace {

using level = std::vector<digest>;

std::vector<level> build_tree(std::string_view purpose, std::span<const byte_view> bodies) {
  std::vector<level> levels(1);
  levels[0].reserve(bodies.size());
  for (auto body : bodies)
    levels[0].push_back(seal_leaf(purpose, body));
  while (levels.back().size() > 1) {
    const auto& below = levels.back();
    level above;
    above.reserve((below.size() + 1) / 2);
    for (std::size_t i = 0; i + 1 < below.size(); i += 2)
      above.push_back(seal_inner(purpose, below[i], below[i + 1]));
    if (below.size() % 2 != 0)
      above.push_back(below.back());
    levels.push_back(std::move(above));
  }
  return levels;
}

std::vector<std::uint8_t> encode_seal(const std::vector<level>& levels, std::uint32_t key_id,
                                      std::size_t index, const fixed_bytes<64>& sig) {
  auto count = static_cast<std::uint32_t>(levels[0].size());
  auto path_length = seal_path_length(static_cast<std::uint32_t>(index), count);
  std::vector<std::uint8_t> out(seal_header_bytes, 0);
  out.reserve(seal_header_bytes + path_length * 32 + sig.size());
  out[0] = 1;
  out[1] = static_cast<std::uint8_t>(path_length);
  store_le(&out[4], key_id);
  store_le(&out[8], static_cast<std::uint32_t>(index));
  store_le(&out[12], count);
  for (std::size_t depth = 0, at = index; levels[depth].size() > 1; ++depth, at /= 2)
    if (auto sibling = at ^ 1U; sibling < levels[depth].size())
      out.insert(out.end(), levels[depth][sibling].begin(), levels[depth][sibling].end());
  out.insert(out.end(), sig.begin(), sig.end());
  return out;
}

} // namespace

expected<std::vector<std::vector<std::uint8_t>>> seal_batch(std::string_view purpose,
                                                            std::uint32_t key_id,
                                                            byte_view secret_key,
                                                            std::span<const byte_view> bodies) {
  if (bodies.empty() || bodies.size() > seal_count_max)
    return fail(errc::invalid, "one signature covers 1 to 65,536 bodies, not " +
                                   std::to_string(bodies.size()) + "; split the batch");
  if (secret_key.size() != crypto_sign_SECRETKEYBYTES || purpose.size() > domain::length_max)
    return fail(errc::internal,
                "sealing needs a secret key of 64 bytes and a domain of at most 32");
  auto levels = build_tree(purpose, bodies);
  std::uint8_t message[seal_detail::signed_bytes_max];
  auto length = seal_detail::write_signed(
      message, purpose, static_cast<std::uint32_t>(bodies.size()), levels.back()[0]);
  fixed_bytes<64> sig{};
  crypto_sign_detached(sig.data(), nullptr, message, length, secret_key.data());
  std::vector<std::vector<std::uint8_t>> seals;
  seals.reserve(bodies.size());
  for (std::size_t i = 0; i < bodies.size(); ++i)
    seals.push_back(encode_seal(levels, key_id, i, sig));
  return seals;
}

expected<std::vector<std::uint8_t>> seal_one(std::string_view purpose, std::uint32_t key_id,
                                             byte_view secret_key, byte_view body) {
  auto seals = seal_batch(purpose, key_id, secret_key, {&body, 1});
  if (!seals)
    return tl::unexpected<error>{seals.error()};
  return std::move(seals->front());
}

expected<void> verify_seal_bytes(std::string_view purpose, byte_view seal, byte_view body,
                                 byte_view key, seal_cache& cache) {
  seal_view view;
  if (auto bad = decode_seal(seal, view))
    return fail(errc::refused, bad.text);
  if (auto bad = verify_seal(purpose, view, body, key, cache))
    return fail(errc::refused, bad.text);
  return {};
}

} // namespace troupe::auth
