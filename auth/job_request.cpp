// SPDX-License-Identifier: Apache-2.0
#include "auth/job_request.hpp"

namespace troupe::auth {

namespace {

tl::unexpected<refusal> malformed(const std::string& what) {
  return refuse(reason::malformed, "the job request is malformed: " + what);
}

} // namespace

fixed_bytes<job_request_size> encode(const job_request& from) {
  fixed_bytes<job_request_size> bytes{};
  auto* to = bytes.data();
  to[0] = 1;
  to[1] = from.may_spawn ? 1 : 0;
  store_le(to + 4, from.uid);
  std::memcpy(to + 8, from.cluster.data(), 16);
  std::memcpy(to + 24, from.id.data(), 16);
  std::memcpy(to + 40, from.spec_digest.data(), 32);
  store_le(to + 72, from.elements.count);
  store_le(to + 76, from.elements.first);
  store_le(to + 80, from.elements.last);
  store_le(to + 84, from.incarnations_max);
  store_le(to + 88, from.not_before);
  store_le(to + 96, from.not_after);
  return bytes;
}

checked<job_request> decode_job_request(byte_view bytes) {
  if (bytes.size() != job_request_size)
    return malformed("it has " + std::to_string(bytes.size()) + " bytes instead of " +
                     std::to_string(job_request_size));
  const auto* from = bytes.data();
  if (from[0] != 1)
    return malformed("its version is " + std::to_string(from[0]) + ", not 1");
  if (from[1] > 1 || from[2] != 0 || from[3] != 0)
    return malformed("a reserved bit is set");
  job_request x;
  x.may_spawn = from[1] == 1;
  x.uid = load_le<std::uint32_t>(from + 4);
  std::memcpy(x.cluster.data(), from + 8, 16);
  std::memcpy(x.id.data(), from + 24, 16);
  std::memcpy(x.spec_digest.data(), from + 40, 32);
  x.elements = {load_le<std::uint32_t>(from + 72), load_le<std::uint32_t>(from + 76),
                load_le<std::uint32_t>(from + 80)};
  x.incarnations_max = load_le<std::uint32_t>(from + 84);
  x.not_before = load_le<std::int64_t>(from + 88);
  x.not_after = load_le<std::int64_t>(from + 96);
  if (!x.elements.valid())
    return malformed("its elements are not a range below " + std::to_string(elements_max));
  if (x.incarnations_max == 0 || x.incarnations_max > incarnations_limit)
    return malformed("its number of incarnations is not between 1 and 1000");
  if (x.not_before < 0 || x.not_after <= x.not_before)
    return malformed("its life is empty");
  return x;
}

} // namespace troupe::auth
