// SPDX-License-Identifier: Apache-2.0
#include "auth/warrant.hpp"

namespace troupe::auth {

namespace {

tl::unexpected<refusal> malformed(const std::string& what) {
  return refuse(reason::malformed, "the warrant is malformed: " + what);
}

checked<void> check_values(const warrant& x) {
  if (x.job == 0)
    return malformed("it names no job");
  if (!x.elements.valid())
    return malformed("its elements are not a range below " + std::to_string(elements_max));
  if (x.incarnations_max == 0 || x.incarnations_max > incarnations_limit)
    return malformed("its number of incarnations is not between 1 and 1000");
  if (x.most.nodes == 0 || x.most.cores == 0)
    return malformed("it allows no node or no core");
  if (x.not_before < 0 || x.not_after <= x.not_before)
    return malformed("its life is empty");
  for (std::size_t i = 1; i < x.groups.size(); ++i)
    if (x.groups[i - 1] >= x.groups[i])
      return malformed("its groups are not sorted and unique");
  return {};
}

} // namespace

std::vector<std::uint8_t> encode(const warrant& from) {
  const auto head = warrant_fixed_size + (from.step != 0 ? 4 : 0);
  std::vector<std::uint8_t> bytes(head + 4 * from.groups.size());
  auto* to = bytes.data();
  to[0] = from.step != 0 ? 2 : 1;
  to[1] = from.may_spawn ? 1 : 0;
  store_le(to + 2, static_cast<std::uint16_t>(from.groups.size()));
  store_le(to + 4, from.uid);
  store_le(to + 8, from.gid);
  store_le(to + 12, from.elements.count);
  store_le(to + 16, from.elements.first);
  store_le(to + 20, from.elements.last);
  store_le(to + 24, from.incarnations_max);
  store_le(to + 28, from.most.nodes);
  store_le(to + 32, from.most.cores);
  store_le(to + 36, from.most.time_s);
  store_le(to + 40, from.most.memory_bytes);
  store_le(to + 48, from.job);
  store_le(to + 56, from.not_before);
  store_le(to + 64, from.not_after);
  std::memcpy(to + 72, from.cluster.data(), 16);
  std::memcpy(to + 88, from.request.data(), 16);
  std::memcpy(to + 104, from.origin_serial.data(), 16);
  std::memcpy(to + 120, from.spec_digest.data(), 32);
  std::memcpy(to + 152, from.exec_digest.data(), 32);
  if (from.step != 0)
    store_le(to + warrant_fixed_size, from.step);
  for (std::size_t i = 0; i < from.groups.size(); ++i)
    store_le(to + head + 4 * i, from.groups[i]);
  return bytes;
}

checked<warrant> decode_warrant(byte_view bytes) {
  if (bytes.size() < warrant_fixed_size)
    return malformed("it has only " + std::to_string(bytes.size()) + " bytes");
  const auto* from = bytes.data();
  if (from[0] != 1 && from[0] != 2)
    return malformed("its version is " + std::to_string(from[0]) + ", not 1 or 2");
  const auto head = warrant_fixed_size + (from[0] == 2 ? 4 : 0);
  if (from[1] > 1)
    return malformed("a reserved bit is set");
  std::size_t groups = load_le<std::uint16_t>(from + 2);
  if (groups > warrant_groups_max || bytes.size() != head + 4 * groups)
    return malformed("its length does not fit its " + std::to_string(groups) +
                     " groups (at most 1024)");
  warrant x;
  x.may_spawn = from[1] == 1;
  x.uid = load_le<std::uint32_t>(from + 4);
  x.gid = load_le<std::uint32_t>(from + 8);
  x.elements = {load_le<std::uint32_t>(from + 12), load_le<std::uint32_t>(from + 16),
                load_le<std::uint32_t>(from + 20)};
  x.incarnations_max = load_le<std::uint32_t>(from + 24);
  x.most = {load_le<std::uint32_t>(from + 28), load_le<std::uint32_t>(from + 32),
            load_le<std::uint64_t>(from + 40), load_le<std::uint32_t>(from + 36)};
  x.job = load_le<std::uint64_t>(from + 48);
  x.not_before = load_le<std::int64_t>(from + 56);
  x.not_after = load_le<std::int64_t>(from + 64);
  std::memcpy(x.cluster.data(), from + 72, 16);
  std::memcpy(x.request.data(), from + 88, 16);
  std::memcpy(x.origin_serial.data(), from + 104, 16);
  std::memcpy(x.spec_digest.data(), from + 120, 32);
  std::memcpy(x.exec_digest.data(), from + 152, 32);
  if (from[0] == 2 && (x.step = load_le<std::uint32_t>(from + warrant_fixed_size)) == 0)
    return malformed("it is a step's and names none");
  x.groups.reserve(groups);
  for (std::size_t i = 0; i < groups; ++i)
    x.groups.push_back(load_le<std::uint32_t>(from + head + 4 * i));
  if (auto fit = check_values(x); !fit)
    return tl::unexpected{fit.error()};
  return x;
}

} // namespace troupe::auth
