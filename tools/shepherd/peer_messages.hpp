// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "messages/shepherd.hpp"

// What the shepherds of one job say to each other: the payloads of `relay`, opaque to everybody on
// the way. Each is one `peer_message` with one member set.

namespace troupe::shepherd {

inline constexpr std::size_t key_bytes_max = 511; ///< PMIX_MAX_KEYLEN
inline constexpr std::size_t packed_bytes_max = 16u << 20;
inline constexpr std::size_t values_max = 4096;

/// Which collective: what it does, who takes part (a digest), and its number among those of the
/// same participants. All of them count alike, so nobody has to agree on a number first.
struct collective_id {
  std::uint8_t kind = 0;
  std::array<std::uint8_t, 16> participants{};
  std::uint64_t number = 0;
  auto operator<=>(const collective_id&) const = default;
  static constexpr auto fields() {
    using s = collective_id;
    return field_list(field<1>("kind", &s::kind), field<2>("participants", &s::participants),
                      field<3>("number", &s::number));
  }
};

/// What one node's participants gave.
struct contribution {
  std::uint32_t node = 0;
  std::int32_t status = 0;
  std::vector<std::uint8_t> data;
  static constexpr auto fields() {
    using s = contribution;
    return field_list(field<1>("node", &s::node), field<2>("status", &s::status),
                      field<3>("data", &s::data));
  }
};

struct collective_part {
  collective_id id;
  std::vector<contribution> parts;
  static constexpr auto fields() {
    return field_list(field<1>("id", &collective_part::id),
                      field<2>("parts", &collective_part::parts, at_most(job_nodes_max)));
  }
};

/// Asks the node of a rank that ended whether it still gives its part.
struct collective_doubt {
  collective_id id;
  static constexpr auto fields() { return field_list(field<1>("id", &collective_doubt::id)); }
};

/// It does not, nor will it.
struct collective_failed {
  collective_id id;
  std::int32_t status = 0;
  static constexpr auto fields() {
    return field_list(field<1>("id", &collective_failed::id),
                      field<2>("status", &collective_failed::status));
  }
};

/// What a rank of the receiver's node has put; answered by `answer` with one value.
struct modex_ask {
  std::uint64_t token = 0;
  process_name whose;
  static constexpr auto fields() {
    return field_list(field<1>("token", &modex_ask::token), field<2>("whose", &modex_ask::whose));
  }
};

/// A value under a key; packed by PMIx, or PMI-1's text.
struct stored_value {
  process_name owner;
  std::string key;
  std::vector<std::uint8_t> value;
  static constexpr auto fields() {
    using s = stored_value;
    return field_list(field<1>("owner", &s::owner),
                      field<2>("key", &s::key, at_most(key_bytes_max)),
                      field<3>("value", &s::value, at_most(packed_bytes_max)));
  }
};

/// To the node that keeps what is published; answered by `answer`.
struct publish_ask {
  std::uint64_t token = 0;
  process_name owner;
  std::uint32_t range = 0;
  std::uint32_t persistence = 0;
  std::vector<stored_value> values;
  static constexpr auto fields() {
    using s = publish_ask;
    return field_list(field<1>("token", &s::token), field<2>("owner", &s::owner),
                      field<3>("range", &s::range), field<4>("persistence", &s::persistence),
                      field<5>("values", &s::values, at_most(values_max)));
  }
};

/// To the keeper. With `waits` it answers when all keys are there, or at the timeout (0: none).
struct lookup_ask {
  std::uint64_t token = 0;
  process_name who;
  std::uint32_t range = 0;
  bool waits = false;
  std::uint32_t timeout_s = 0;
  std::vector<std::string> keys;
  static constexpr auto fields() {
    using s = lookup_ask;
    return field_list(field<1>("token", &s::token), field<2>("who", &s::who),
                      field<3>("range", &s::range), field<4>("waits", &s::waits),
                      field<5>("timeout_s", &s::timeout_s),
                      field<6>("keys", &s::keys, at_most(values_max), each_at_most(key_bytes_max)));
  }
};

/// To the keeper. No keys: all of the owner's.
struct unpublish_ask {
  std::uint64_t token = 0;
  process_name owner;
  std::uint32_t range = 0;
  std::vector<std::string> keys;
  static constexpr auto fields() {
    using s = unpublish_ask;
    return field_list(field<1>("token", &s::token), field<2>("owner", &s::owner),
                      field<3>("range", &s::range),
                      field<4>("keys", &s::keys, at_most(values_max), each_at_most(key_bytes_max)));
  }
};

struct answer {
  std::uint64_t token = 0;
  std::int32_t status = 0;
  std::vector<stored_value> values;
  static constexpr auto fields() {
    using s = answer;
    return field_list(field<1>("token", &s::token), field<2>("status", &s::status),
                      field<3>("values", &s::values, at_most(values_max)));
  }
};

/// A PMIx event for the ranks of the receiver's node.
struct event_notice {
  std::int32_t code = 0;
  process_name source;
  std::uint32_t range = 0;
  std::vector<std::uint8_t> infos;
  static constexpr auto fields() {
    using s = event_notice;
    return field_list(field<1>("code", &s::code), field<2>("source", &s::source),
                      field<3>("range", &s::range),
                      field<4>("infos", &s::infos, at_most(packed_bytes_max)));
  }
};

/// A rank of the sender's node ended.
struct end_notice {
  std::uint32_t step = 0;
  std::uint32_t rank = 0;
  std::int32_t exit_code = 0;
  std::uint32_t signal = 0;
  static constexpr auto fields() {
    using s = end_notice;
    return field_list(field<1>("step", &s::step), field<2>("rank", &s::rank),
                      field<3>("exit_code", &s::exit_code), field<4>("signal", &s::signal));
  }
};

struct peer_message {
  std::optional<shepherd::collective_part> collective_part;
  std::optional<shepherd::collective_doubt> collective_doubt;
  std::optional<shepherd::collective_failed> collective_failed;
  std::optional<shepherd::modex_ask> modex_ask;
  std::optional<shepherd::publish_ask> publish_ask;
  std::optional<shepherd::lookup_ask> lookup_ask;
  std::optional<shepherd::unpublish_ask> unpublish_ask;
  std::optional<shepherd::answer> answer;
  std::optional<shepherd::event_notice> event_notice;
  std::optional<shepherd::end_notice> end_notice;
  static constexpr auto fields() {
    using s = peer_message;
    return field_list(field<1>("collective_part", &s::collective_part, required),
                      field<2>("collective_doubt", &s::collective_doubt, required),
                      field<3>("collective_failed", &s::collective_failed, required),
                      field<4>("modex_ask", &s::modex_ask, required),
                      field<5>("publish_ask", &s::publish_ask, required),
                      field<6>("lookup_ask", &s::lookup_ask, required),
                      field<7>("unpublish_ask", &s::unpublish_ask, required),
                      field<8>("answer", &s::answer, required),
                      field<9>("event_notice", &s::event_notice, required),
                      field<10>("end_notice", &s::end_notice, required));
  }
};

} // namespace troupe::shepherd
