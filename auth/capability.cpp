// SPDX-License-Identifier: Apache-2.0
#include "auth/capability.hpp"

#include <algorithm>

namespace troupe::auth {

namespace at = capability_layout;

namespace {

tl::unexpected<refusal> malformed(std::string what) {
  return refuse(reason::malformed, "the capability is malformed: " + std::move(what));
}

template <std::size_t N>
void put(std::uint8_t* to, const fixed_bytes<N>& from) {
  std::memcpy(to, from.data(), N);
}

template <std::size_t N>
fixed_bytes<N> get(const std::uint8_t* from) {
  fixed_bytes<N> result;
  std::memcpy(result.data(), from, N);
  return result;
}

bool known_role(const subject& who) {
  switch (who.kind) {
  case subject_kind::user:
    return who.role >= 1 && who.role <= static_cast<std::uint8_t>(account_role::admin);
  case subject_kind::role: return who.role >= 1 && who.role <= actor_role_last;
  case subject_kind::job:
  case subject_kind::node: return who.role == 0;
  }
  return false;
}

/// The values' own rules, the same for encoders and decoders.
checked<void> check_values(const capability& x) {
  if (x.who.kind < subject_kind::user || x.who.kind > subject_kind::node)
    return malformed("its subject is of no known kind");
  if (!known_role(x.who))
    return malformed("its subject's role is unknown");
  if (x.depth_left > depth_max)
    return malformed("it allows more than one delegation");
  if (!all_verbs.covers(x.verbs))
    return malformed("a reserved verb bit is set");
  if (x.on.kind > resource_kind::nodes || x.on.lo > x.on.hi)
    return malformed("its resource is not a range");
  if (x.on.kind == resource_kind::any && x.on != resource{})
    return malformed("its resource is 'any' with a range");
  if (x.bound.job == 0 && x.bound.incarnation != 0)
    return malformed("it is bound to an incarnation of no job");
  if (x.who.kind == subject_kind::job && x.bound.job == 0)
    return malformed("its subject is a job, but it is bound to none");
  if (x.not_before < 0 || x.expires <= x.not_before ||
      x.expires - x.not_before > capability_life_max_ns)
    return malformed("its life is empty or longer than 400 days");
  return {};
}

resource intersect_resources(const resource& a, const resource& b, bool& empty) {
  empty = false;
  if (a.kind == resource_kind::any)
    return b;
  if (b.kind == resource_kind::any)
    return a;
  resource both{a.kind, std::max(a.lo, b.lo), std::min(a.hi, b.hi)};
  empty = a.kind != b.kind || both.lo > both.hi;
  return both;
}

bool same_or_narrower(const job_bound& parent, const job_bound& child) {
  return (parent.job == 0 || parent.job == child.job) &&
         (parent.incarnation == 0 || parent.incarnation == child.incarnation);
}

} // namespace

const char* to_string(subject_kind kind) {
  switch (kind) {
  case subject_kind::user: return "user";
  case subject_kind::role: return "role";
  case subject_kind::job: return "job";
  case subject_kind::node: return "node";
  }
  return "unknown";
}

std::optional<audience> audience::parse(std::string_view name) {
  audience result;
  if (name.empty() || name.size() > result.bytes_.size())
    return std::nullopt;
  for (char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == ':' || c == '-'))
      return std::nullopt;
  std::memcpy(result.bytes_.data(), name.data(), name.size());
  return result;
}

std::optional<audience> audience::decode(const std::uint8_t* bytes) {
  auto all = as_text({bytes, 16});
  auto result = parse(all.substr(0, all.find('\0')));
  if (!result || std::memcmp(result->bytes_.data(), bytes, 16) != 0)
    return std::nullopt;
  return result;
}

std::string_view audience::name() const {
  auto all = as_text(bytes_);
  return all.substr(0, all.find('\0'));
}

fixed_bytes<at::body_size> encode_body(const capability& from) {
  fixed_bytes<at::body_size> body{};
  auto* to = body.data();
  to[at::version] = 1;
  to[at::subject_kind] = static_cast<std::uint8_t>(from.who.kind);
  to[at::subject_role] = from.who.role;
  to[at::depth_left] = from.depth_left;
  store_le(to + at::key_id, from.key_id);
  put(to + at::cluster, from.cluster);
  put(to + at::serial, from.serial);
  store_le(to + at::uid, from.who.uid);
  store_le(to + at::gid, from.who.gid);
  put(to + at::holder, from.holder);
  put(to + at::audience, from.meant_for.bytes());
  store_le(to + at::verbs, from.verbs.bits());
  store_le(to + at::resource_lo, from.on.lo);
  store_le(to + at::resource_hi, from.on.hi);
  store_le(to + at::bound_job, from.bound.job);
  store_le(to + at::bound_incarnation, from.bound.incarnation);
  to[at::resource_kind] = static_cast<std::uint8_t>(from.on.kind);
  store_le(to + at::not_before, from.not_before);
  store_le(to + at::expires, from.expires);
  return body;
}

checked<capability> decode_body(byte_view bytes) {
  if (bytes.size() != at::body_size)
    return malformed("its body has " + std::to_string(bytes.size()) + " bytes instead of " +
                     std::to_string(at::body_size));
  const auto* from = bytes.data();
  if (from[at::version] != 1)
    return malformed("its version is " + std::to_string(from[at::version]) + ", not 1");
  if (from[at::reserved] != 0 || from[at::reserved + 1] != 0 || from[at::reserved + 2] != 0)
    return malformed("a reserved bit is set");
  auto meant_for = audience::decode(from + at::audience);
  if (!meant_for)
    return malformed("its audience is not a name");
  capability x;
  x.who = {static_cast<subject_kind>(from[at::subject_kind]), from[at::subject_role],
           load_le<std::uint32_t>(from + at::uid), load_le<std::uint32_t>(from + at::gid)};
  x.depth_left = from[at::depth_left];
  x.key_id = load_le<std::uint32_t>(from + at::key_id);
  x.cluster = get<16>(from + at::cluster);
  x.serial = get<16>(from + at::serial);
  x.holder = get<32>(from + at::holder);
  x.meant_for = *meant_for;
  x.verbs = verb_set{load_le<std::uint64_t>(from + at::verbs)};
  x.on = {static_cast<resource_kind>(from[at::resource_kind]),
          load_le<std::uint64_t>(from + at::resource_lo),
          load_le<std::uint64_t>(from + at::resource_hi)};
  x.bound = {load_le<std::uint64_t>(from + at::bound_job),
             load_le<std::uint32_t>(from + at::bound_incarnation)};
  x.not_before = load_le<std::int64_t>(from + at::not_before);
  x.expires = load_le<std::int64_t>(from + at::expires);
  if (auto fit = check_values(x); !fit)
    return tl::unexpected{fit.error()};
  if (!acceptable_public_key(x.holder.data()))
    return refuse(reason::bad_key,
                  "the capability's holder key is not canonical or of small order");
  return x;
}

std::vector<std::uint8_t> issue_capability(const signing_key& key, capability from) {
  from.key_id = key.key_id;
  auto body = encode_body(from);
  auto sig = key.pair->sign(domain::capability, body);
  std::vector<std::uint8_t> bytes(body.begin(), body.end());
  bytes.insert(bytes.end(), sig.begin(), sig.end());
  return bytes;
}

checked<chain_view> split_chain(byte_view chain) {
  if (chain.size() == capability_size)
    return chain_view{chain, {}};
  if (chain.size() == capability_size + delegation_size)
    return chain_view{chain.first(capability_size), chain.subspan(capability_size)};
  return malformed("it has " + std::to_string(chain.size()) + " bytes; a capability has " +
                   std::to_string(capability_size) + ", with a delegation " +
                   std::to_string(capability_size + delegation_size));
}

digest chain_digest(byte_view chain) {
  return keyed_digest("troupe/chain/v1", chain);
}

digest capability_digest(byte_view capability) {
  return keyed_digest(domain::delegation, capability);
}

std::string_view wider_dimension(const capability& parent, const capability& child) {
  bool empty = false;
  if (parent.cluster != child.cluster)
    return "cluster";
  if (!(parent.who == child.who))
    return "subject";
  if (!(parent.meant_for == child.meant_for))
    return "audience";
  if (!parent.verbs.covers(child.verbs))
    return "verbs";
  if (!(intersect_resources(parent.on, child.on, empty) == child.on) || empty)
    return "resource";
  if (!same_or_narrower(parent.bound, child.bound))
    return "bound";
  if (child.not_before < parent.not_before || child.expires > parent.expires)
    return "lifetime";
  if (parent.depth_left == 0 || child.depth_left >= parent.depth_left)
    return "depth";
  return {};
}

checked<capability> intersect(const capability& parent, const capability& child) {
  if (parent.depth_left == 0)
    return refuse(reason::depth_exhausted, "this capability may not be delegated further");
  if (parent.cluster != child.cluster || !(parent.who == child.who) ||
      !(parent.meant_for == child.meant_for))
    return refuse(reason::wider_than_parent,
                  "a delegation must keep its parent's cluster, subject and audience");
  capability both = child;
  bool empty = false;
  both.verbs = parent.verbs & child.verbs;
  both.on = intersect_resources(parent.on, child.on, empty);
  bool contrary =
      (parent.bound.job != 0 && child.bound.job != 0 && parent.bound.job != child.bound.job) ||
      (parent.bound.incarnation != 0 && child.bound.incarnation != 0 &&
       parent.bound.incarnation != child.bound.incarnation);
  both.bound.job = parent.bound.job != 0 ? parent.bound.job : child.bound.job;
  both.bound.incarnation =
      parent.bound.incarnation != 0 ? parent.bound.incarnation : child.bound.incarnation;
  both.not_before = std::max(parent.not_before, child.not_before);
  both.expires = std::min(parent.expires, child.expires);
  both.depth_left = std::min(child.depth_left, static_cast<std::uint8_t>(parent.depth_left - 1));
  if (empty || contrary || both.expires <= both.not_before)
    return refuse(reason::wider_than_parent,
                  "the delegation and its parent have no resource, job or time in common");
  return both;
}

checked<std::vector<std::uint8_t>> delegate(byte_view parent, const key_pair& holder,
                                            capability child) {
  if (parent.size() != capability_size)
    return refuse(reason::depth_exhausted, "a delegation can be made from a capability of the "
                                           "authority only, not from another delegation");
  auto from = decode_body(parent.first(at::body_size));
  if (!from)
    return tl::unexpected{from.error()};
  if (from->holder != holder.public_part())
    return refuse(reason::holder_unproven, "only a capability's holder may delegate it");
  child.key_id = 0;
  if (auto wider = wider_dimension(*from, child); !wider.empty())
    return refuse(reason::wider_than_parent,
                  "the delegation would be wider than its parent in: " + std::string{wider});
  std::vector<std::uint8_t> bytes(parent.begin(), parent.end());
  auto parent_digest = capability_digest(parent);
  auto body = encode_body(child);
  bytes.insert(bytes.end(), parent_digest.begin(), parent_digest.end());
  bytes.insert(bytes.end(), body.begin(), body.end());
  auto sig = holder.sign(domain::delegation, byte_view{bytes}.subspan(capability_size));
  bytes.insert(bytes.end(), sig.begin(), sig.end());
  return bytes;
}

std::string describe(const capability& what) {
  static constexpr std::string_view resources[] = {"everything", "jobs", "nodes"};
  std::string text;
  auto line = [&text](std::string_view name, const std::string& value) {
    text.append(name).append(value).append("\n");
  };
  line("serial      ", to_hex(what.serial));
  line("key         ", std::to_string(what.key_id));
  line("cluster     ", to_hex(what.cluster));
  line("subject     ", std::string{to_string(what.who.kind)} + " uid " +
                           std::to_string(what.who.uid) + " gid " + std::to_string(what.who.gid));
  if (what.who.kind == subject_kind::user)
    line("role        ", std::string{to_string(static_cast<account_role>(what.who.role))});
  if (what.who.kind == subject_kind::role)
    line("role        ", std::string{to_string(static_cast<actor_role>(what.who.role))});
  line("holder      ", to_hex(what.holder));
  line("audience    ", std::string{what.meant_for.name()});
  line("verbs       ", to_string(what.verbs));
  auto range = what.on.kind == resource_kind::any
                   ? std::string{}
                   : " " + std::to_string(what.on.lo) + "-" + std::to_string(what.on.hi);
  line("resource    ", std::string{resources[static_cast<int>(what.on.kind)]} + range);
  if (what.bound.job != 0)
    line("bound       ",
         "job " + std::to_string(what.bound.job) + ", incarnation " +
             (what.bound.incarnation == 0 ? std::string{"any"}
                                          : std::to_string(what.bound.incarnation)));
  line("not before  ", std::to_string(what.not_before) + " (UTC ns)");
  line("expires     ", std::to_string(what.expires) + " (UTC ns)");
  line("delegations ", std::to_string(what.depth_left));
  return text;
}

} // namespace troupe::auth
