// SPDX-License-Identifier: Apache-2.0
#include "auth/verifier.hpp"

#include <algorithm>

namespace troupe::auth {

namespace {

constexpr std::size_t proof_size = 32 + 32 + 16 + 32;

fixed_bytes<proof_size> proof_body(const nonce& server, const nonce& client,
                                   const audience& meant_for, byte_view chain) {
  fixed_bytes<proof_size> body;
  auto digest_of_chain = chain_digest(chain);
  std::memcpy(body.data(), server.data(), 32);
  std::memcpy(body.data() + 32, client.data(), 32);
  std::memcpy(body.data() + 64, meant_for.bytes().data(), 16);
  std::memcpy(body.data() + 80, digest_of_chain.data(), 32);
  return body;
}

/// Makes room for one more in a bounded map whose keys stand in order of insertion.
template <class Map, class Order>
void evict_to(Map& map, Order& order, std::size_t room) {
  while (order.size() > room) {
    map.erase(order.front());
    order.pop_front();
  }
}

tl::unexpected<refusal> bad_signature(const char* what) {
  return refuse(reason::bad_signature,
                std::string{"the signature of the "} + what +
                    " does not verify: its bytes were altered, or another key or purpose signed");
}

digest warrant_key(byte_view body, byte_view seal) {
  auto first = keyed_digest(domain::warrant, body);
  std::vector<std::uint8_t> both(first.begin(), first.end());
  both.insert(both.end(), seal.begin(), seal.end());
  return keyed_digest(domain::warrant, both);
}

} // namespace

holder_proof prove_holding(const key_pair& holder, const nonce& server_nonce,
                           const audience& meant_for, byte_view chain) {
  holder_proof proof{server_nonce, random_bytes<32>(), {}};
  proof.sig =
      holder.sign(domain::proof, proof_body(server_nonce, proof.client_nonce, meant_for, chain));
  return proof;
}

verifier::verifier(verifier_options options, std::shared_ptr<const keyring> keys,
                   std::shared_ptr<revocation_state> revocations)
    : options_{options}, revocations_{std::move(revocations)}, keys_{std::move(keys)} {
  require_sodium();
}

checked<void> verifier::replace_keyring(std::shared_ptr<const keyring> keys) {
  std::lock_guard lock{mutex_};
  if (check_keyring_succession(keys_->bytes(), keys->view()) != keyring_fault::none)
    return refuse(reason::replayed, "keyring " + std::to_string(keys->version()) +
                                        " does not replace keyring " +
                                        std::to_string(keys_->version()) + ": numbers must rise");
  auto before = keys_->contents().entries;
  keys_ = std::move(keys);
  chains_.clear();
  chain_order_.clear();
  for (const auto& old : before) {
    keyring_entry_view found;
    auto fault = find_verifying_key(keys_->view(), old.key_id, 0, found);
    if (fault == key_fault::none)
      continue;
    if (auto done = revocations_->revoke_key(old.key_id); !done)
      return refuse(reason::too_many, done.error().text);
  }
  return {};
}

std::shared_ptr<const keyring> verifier::keys() const {
  std::lock_guard lock{mutex_};
  return keys_;
}

nonce verifier::challenge(boot_time now) {
  auto fresh = random_bytes<32>();
  std::lock_guard lock{mutex_};
  evict_to(nonces_, nonce_order_, options_.nonces_max - 1);
  nonces_.emplace(fresh, now);
  nonce_order_.push_back(fresh);
  return fresh;
}

checked<void> verifier::use_nonce(const nonce& which, boot_time now) {
  std::lock_guard lock{mutex_};
  auto found = nonces_.find(which);
  if (found == nonces_.end())
    return refuse(reason::holder_unproven,
                  "the proof answers no open challenge: its nonce was used, is too old or was "
                  "never given; connect again");
  auto given = found->second;
  nonces_.erase(found);
  if (nonces_.empty())
    nonce_order_.clear();
  if (now - given > options_.nonce_life_ns)
    return refuse(reason::holder_unproven,
                  "the proof came more than 30 s after its challenge; connect again");
  return {};
}

checked<verified_capability> verifier::admit(byte_view chain, const holder_proof& proof,
                                             const clock_reading& at) {
  if (auto fresh = use_nonce(proof.server_nonce, at.now); !fresh)
    return tl::unexpected{fresh.error()};
  auto known = verify_chain(chain, at.utc);
  if (!known)
    return tl::unexpected{known.error()};
  auto body = proof_body(proof.server_nonce, proof.client_nonce, options_.meant_for, chain);
  if (!verify_signature(domain::proof, body, proof.sig.data(), (*known)->effective.holder.data()))
    return refuse(reason::holder_unproven,
                  "the proof is not signed by the capability's holder for this connection");
  return admitted(*known, at);
}

checked<verified_capability> verifier::admit_held(byte_view chain, const key_pair& holder,
                                                  const clock_reading& at) {
  auto known = verify_chain(chain, at.utc);
  if (!known)
    return tl::unexpected{known.error()};
  if ((*known)->effective.holder != holder.public_part())
    return refuse(reason::holder_unproven, "the capability names another holder");
  return admitted(*known, at);
}

checked<verified_capability> verifier::admitted(const facts_ptr& known,
                                                const clock_reading& at) const {
  const auto left = known->effective.expires - at.utc + options_.skew_ns;
  return verified_capability{limited(*known, at.now + left)};
}

verifier::facts_ptr verifier::limited(const verified_capability::facts& what,
                                      boot_time until) const {
  auto made = std::make_shared<verified_capability::facts>();
  made->effective = what.effective;
  made->handles = what.handles;
  made->winding_down = what.winding_down;
  made->valid_until = until;
  made->revocations = what.revocations;
  made->clean_epoch.store(what.clean_epoch.load(std::memory_order_relaxed),
                          std::memory_order_relaxed);
  return made;
}

checked<capability> verifier::inspect(byte_view chain, utc_ns now) {
  auto known = verify_chain(chain, now);
  if (!known)
    return tl::unexpected{known.error()};
  return (*known)->effective;
}

checked<verifier::facts_ptr> verifier::verify_chain(byte_view chain, utc_ns now) {
  auto name = chain_digest(chain);
  facts_ptr known;
  {
    std::lock_guard lock{mutex_};
    if (auto found = chains_.find(name); found != chains_.end())
      known = found->second;
  }
  if (!known) {
    auto fresh = verify_chain_fully(chain, now);
    if (!fresh)
      return fresh;
    known = *fresh;
  }
  if (auto still = check_now(*known, now); !still)
    return tl::unexpected{still.error()};
  std::lock_guard lock{mutex_};
  if (chains_.emplace(name, known).second) {
    chain_order_.push_back(name);
    evict_to(chains_, chain_order_, options_.chains_cached_max);
  }
  return known;
}

checked<verifier::facts_ptr> verifier::verify_chain_fully(byte_view chain, utc_ns now) {
  auto parts = split_chain(chain);
  if (!parts)
    return tl::unexpected{parts.error()};
  auto body = parts->parent.first(capability_layout::body_size);
  auto parent = decode_body(body);
  if (!parent)
    return tl::unexpected{parent.error()};
  auto key = keys()->verifying_key(parent->key_id, now);
  if (!key)
    return tl::unexpected{key.error()};
  if (!verify_signature(domain::capability, body, parts->parent.data() + body.size(), key->data()))
    return bad_signature("capability");
  if (parts->delegation.empty())
    return make_facts(*parent, *parent);

  auto signed_part = parts->delegation.first(delegation_size - 64);
  auto child = decode_body(signed_part.subspan(32));
  if (!child)
    return tl::unexpected{child.error()};
  auto named = capability_digest(parts->parent);
  if (child->key_id != 0 || std::memcmp(signed_part.data(), named.data(), named.size()) != 0)
    return refuse(reason::digest_mismatch, "the delegation was made from another capability");
  if (!verify_signature(domain::delegation, signed_part,
                        parts->delegation.data() + signed_part.size(), parent->holder.data()))
    return bad_signature("delegation");
  if (auto wider = wider_dimension(*parent, *child); !wider.empty())
    return refuse(wider == "depth" && parent->depth_left == 0 ? reason::depth_exhausted
                                                              : reason::wider_than_parent,
                  "the delegation is wider than its parent in: " + std::string{wider});
  // Refusing what is wider makes the intersection the child; it is computed all the same, so that
  // what counts never rests on one comparison.
  auto effective = intersect(*parent, *child);
  if (!effective)
    return tl::unexpected{effective.error()};
  return make_facts(*effective, *parent);
}

verifier::facts_ptr verifier::make_facts(const capability& effective,
                                         const capability& parent) const {
  auto made = std::make_shared<verified_capability::facts>();
  made->effective = effective;
  made->handles = {effective.who, parent.key_id,    effective.bound.job, effective.serial,
                   parent.serial, effective.holder, parent.holder};
  made->revocations = revocations_;
  return made;
}

// What may have changed since the signatures were verified, or never depended on them.
checked<void> verifier::check_now(const verified_capability::facts& what, utc_ns now) const {
  const auto& it = what.effective;
  if (it.cluster != options_.cluster)
    return refuse(reason::wrong_cluster, "the capability is of cluster " + to_hex(it.cluster) +
                                             ", this is " + to_hex(options_.cluster));
  if (!(it.meant_for == options_.meant_for))
    return refuse(reason::wrong_audience, "the capability is meant for '" +
                                              std::string{it.meant_for.name()} + "', this is '" +
                                              std::string{options_.meant_for.name()} + "'");
  if (auto key = keys()->verifying_key(what.handles.key_id, now); !key)
    return tl::unexpected{key.error()};
  if (now < it.not_before - options_.skew_ns)
    return refuse(reason::not_yet_valid, "the capability is not valid before another " +
                                             std::to_string((it.not_before - now) / ns_per_s) +
                                             " s; check this machine's clock");
  if (now >= it.expires + options_.skew_ns)
    return refuse(reason::expired, "the capability expired " +
                                       std::to_string((now - it.expires) / ns_per_s) +
                                       " s ago; log in again");
  verified_capability asked{facts_ptr{facts_ptr{}, &what}};
  return asked.check(it.verbs, boot_time{});
}

checked<verified_capability> verifier::role_capability(actor_role role, const signing_key& key,
                                                       std::uint32_t uid, std::uint32_t gid,
                                                       const clock_reading& at) {
  auto holder = key_pair::generate();
  capability own;
  own.cluster = options_.cluster;
  own.serial = random_bytes<16>();
  own.who = {subject_kind::role, static_cast<std::uint8_t>(role), uid, gid};
  own.holder = holder.public_part();
  own.meant_for = options_.meant_for;
  own.verbs = verbs_of(role);
  own.not_before = at.utc;
  own.expires = at.utc + capability_life_max_ns;
  auto admitted = admit_held(issue_capability(key, own), holder, at);
  if (!admitted)
    return admitted;
  return verified_capability{limited(*admitted->facts_, boot_time::never())};
}

checked<void> verifier::check_warrant_now(const warrant& what, utc_ns now) const {
  auto name = "the warrant of job " + std::to_string(what.job);
  if (now > what.not_after + options_.skew_ns)
    return refuse(reason::expired, name + " has expired; submit the job again");
  if (revocations_->uid_revoked(what.uid))
    return refuse(reason::revoked, "uid " + std::to_string(what.uid) + " is revoked");
  if (revocations_->job_revoked(what.job))
    return refuse(reason::revoked, "job " + std::to_string(what.job) + " is revoked");
  return {};
}

checked<std::shared_ptr<const warrant>> verifier::verify_warrant(byte_view body, byte_view seal,
                                                                 utc_ns now) {
  auto known = authentic_warrant(body, seal);
  if (!known)
    return tl::unexpected{known.error()};
  if (auto key = keys()->verifying_key(known->key_id, now); !key)
    return tl::unexpected{key.error()};
  if (auto fits = check_warrant_now(*known->what, now); !fits)
    return tl::unexpected{fits.error()};
  return known->what;
}

/// Whatever became since of its job, its user, its time or the key that signed it: the authority of
/// this cluster made it.
checked<verifier::known_warrant> verifier::authentic_warrant(byte_view body, byte_view seal) {
  auto name = warrant_key(body, seal);
  {
    std::lock_guard lock{mutex_};
    if (auto found = warrants_.find(name); found != warrants_.end())
      return found->second;
  }
  auto decoded = decode_warrant(body);
  if (!decoded)
    return tl::unexpected{decoded.error()};
  seal_view view;
  if (auto bad = decode_seal(seal, view))
    return refuse(reason::malformed, std::string{"the warrant was refused: "} + bad.text);
  if (decoded->cluster != options_.cluster)
    return refuse(reason::wrong_cluster,
                  "the warrant of job " + std::to_string(decoded->job) + " is of another cluster");
  auto key = keys()->key_named(view.key_id);
  if (!key)
    return tl::unexpected{key.error()};
  {
    std::lock_guard lock{seal_mutex_};
    if (!canonical_signature(view.signature.data()) ||
        verify_seal(domain::warrant, view, body, *key, seals_))
      return bad_signature("warrant");
  }
  std::lock_guard lock{mutex_};
  const known_warrant kept{std::make_shared<const warrant>(std::move(*decoded)), view.key_id};
  if (warrants_.emplace(name, kept).second)
    remember_warrant(name, kept.what->job);
  return kept;
}

/// Makes room: the forgotten ones go first, in one sweep for many.
void verifier::remember_warrant(const digest& name, std::uint64_t job) {
  warrant_order_.push_back(name);
  warrants_of_.emplace(job, name);
  if (warrant_order_.size() > 1024 + warrants_.size() * 2)
    std::erase_if(warrant_order_, [this](const digest& each) { return !warrants_.contains(each); });
  while (warrant_order_.size() > options_.warrants_cached_max) {
    if (const auto at = warrants_.find(warrant_order_.front()); at != warrants_.end())
      forget_warrant(at->second.what->job, at->first);
    warrant_order_.pop_front();
  }
}

void verifier::forget_warrant(std::uint64_t job, const digest& name) {
  const auto [first, last] = warrants_of_.equal_range(job);
  const auto at = std::find_if(first, last, [&](const auto& each) { return each.second == name; });
  if (at != last)
    warrants_of_.erase(at);
  warrants_.erase(digest{name});
}

std::size_t verifier::warrants_remembered() const {
  std::lock_guard lock{mutex_};
  return warrants_.size();
}

void verifier::forget_job(std::uint64_t job) {
  std::lock_guard lock{mutex_};
  const auto [first, last] = warrants_of_.equal_range(job);
  for (auto at = first; at != last; ++at)
    warrants_.erase(at->second);
  warrants_of_.erase(job);
}

checked<verified_capability> verifier::from_warrant(byte_view body, byte_view seal) {
  // Also under a key that is retired by now: what runs must come to its end. Whoever signs its
  // orders looks at the key (verify_warrant), so that nothing more is started.
  auto known = authentic_warrant(body, seal);
  if (!known)
    return tl::unexpected{known.error()};
  const auto& from = *known->what;
  auto made = std::make_shared<verified_capability::facts>();
  auto& it = made->effective;
  it.cluster = from.cluster;
  it.serial = from.origin_serial;
  it.who = {subject_kind::job, 0, from.uid, from.gid};
  it.meant_for = options_.meant_for;
  it.verbs = warrant_verbs();
  made->winding_down = winding_down_verbs();
  it.on = {resource_kind::jobs, from.job, from.job};
  it.bound = {from.job, 0};
  it.not_before = from.not_before;
  it.expires = from.not_after;
  // A warrant outlives the capability it came from: revoking that one, or a key rotation, ends no
  // job; revoking the uid or the job does.
  made->handles.who = it.who;
  made->handles.job = from.job;
  made->revocations = revocations_;
  return verified_capability{made};
}

checked<void> verifier::verify_held_seal(std::string_view purpose, byte_view seal, byte_view body,
                                         const public_key& key) {
  seal_view view;
  if (auto bad = decode_seal(seal, view))
    return refuse(reason::malformed, bad.text);
  if (view.key_id != 0)
    return refuse(reason::malformed, "the seal names signing key " + std::to_string(view.key_id) +
                                         ", but a holder's own seal names none (0)");
  std::lock_guard lock{seal_mutex_};
  if (!canonical_signature(view.signature.data()) || verify_seal(purpose, view, body, key, seals_))
    return bad_signature("request");
  return {};
}

} // namespace troupe::auth
