// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.hpp"

namespace troupe::auth {

/// Why something was refused: short, stable words, so that refusals can be counted.
enum class reason : std::uint8_t {
  malformed = 1, ///< length, version, reserved bits or values are not as the format says
  wrong_cluster,
  wrong_audience,
  not_yet_valid,
  expired,
  unknown_key,
  retired_key,
  bad_key, ///< a public key is not canonical or of small order
  bad_signature,
  wider_than_parent,
  depth_exhausted,
  holder_unproven, ///< no proof, a wrong one, or a nonce that was used or never given
  missing_verb,
  outside_resource,
  not_owner,
  revoked,
  no_epochs, ///< no revocation epoch for too long: nothing new is accepted
  replayed,
  digest_mismatch,
  uid_mismatch,
  above_ceiling,
  duplicate_order,
  role_not_granted,
  unknown_user,
  too_many,          ///< a bound was reached
  audit_unavailable, ///< the audit log takes no records, so nothing new is granted
};

/// The reason as it stands in audit records and counters.
inline const char* to_string(reason why) {
  switch (why) {
  case reason::malformed: return "malformed";
  case reason::wrong_cluster: return "wrong_cluster";
  case reason::wrong_audience: return "wrong_audience";
  case reason::not_yet_valid: return "not_yet_valid";
  case reason::expired: return "expired";
  case reason::unknown_key: return "unknown_key";
  case reason::retired_key: return "retired_key";
  case reason::bad_key: return "bad_key";
  case reason::bad_signature: return "bad_signature";
  case reason::wider_than_parent: return "wider_than_parent";
  case reason::depth_exhausted: return "depth_exhausted";
  case reason::holder_unproven: return "holder_unproven";
  case reason::missing_verb: return "missing_verb";
  case reason::outside_resource: return "outside_resource";
  case reason::not_owner: return "not_owner";
  case reason::revoked: return "revoked";
  case reason::no_epochs: return "no_epochs";
  case reason::replayed: return "replayed";
  case reason::digest_mismatch: return "digest_mismatch";
  case reason::uid_mismatch: return "uid_mismatch";
  case reason::above_ceiling: return "above_ceiling";
  case reason::duplicate_order: return "duplicate_order";
  case reason::role_not_granted: return "role_not_granted";
  case reason::unknown_user: return "unknown_user";
  case reason::too_many: return "too_many";
  case reason::audit_unavailable: return "audit_unavailable";
  }
  return "unknown";
}

/// An error that says, besides its sentence, which of the stable reasons applied. Converts to a
/// plain `error`, so a `checked<T>` returns as an `expected<T>`.
struct refusal : error {
  reason why = reason::malformed;
};

template <class T>
using checked = tl::expected<T, refusal>;

/// Refuses: the sentence says what, which value, which limit, and what to do.
inline tl::unexpected<refusal> refuse(reason why, std::string text) {
  refusal result;
  result.code = errc::refused;
  result.text = std::move(text);
  result.why = why;
  return tl::unexpected<refusal>{std::move(result)};
}

} // namespace troupe::auth
