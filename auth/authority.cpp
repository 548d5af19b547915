// SPDX-License-Identifier: Apache-2.0
#include "auth/authority.hpp"

#include "auth/seal.hpp"

#include <algorithm>

namespace troupe::auth {

namespace {

constexpr utc_ns minute_ns = 60 * ns_per_s;
constexpr std::size_t ended_ranges_max = 65'536;

std::string name_of(const job_request& request) {
  return "the job request " + to_hex(request.id);
}

} // namespace

authority::authority(authority_options options, key_pair signing, std::uint32_t key_id,
                     std::shared_ptr<verifier> checks, const clock_source& clock)
    : options_{std::move(options)}, signing_{std::move(signing)}, key_id_{key_id},
      verifier_{std::move(checks)}, clock_{&clock}, passed_{clock} {}

expected<authority> authority::make(authority_options options, key_pair signing,
                                    std::shared_ptr<verifier> checks, const clock_source& clock) {
  const auto keys = checks->keys(); // the verifier may be given others while these are looked at
  for (const auto& entry : keys->contents().entries)
    if (entry.state == key_state::active && entry.key == signing.public_part())
      return authority{std::move(options), std::move(signing), entry.key_id, std::move(checks),
                       clock};
  return fail(errc::invalid, "the signing key is not the active key of keyring " +
                                 std::to_string(keys->version()));
}

checked<account_role> authority::role_for(std::uint32_t uid,
                                          std::optional<account_role> wanted) const {
  const auto& accounts = options_.accounts;
  auto highest = accounts.admins.contains(uid)      ? account_role::admin
                 : accounts.operators.contains(uid) ? account_role::operator_
                                                    : account_role::user;
  if (highest == account_role::user && !accounts.others_allowed)
    return refuse(reason::role_not_granted,
                  "uid " + std::to_string(uid) + " may not use this cluster; it is private");
  if (wanted && *wanted > highest)
    return refuse(reason::role_not_granted, "uid " + std::to_string(uid) + " may not be " +
                                                std::string{to_string(*wanted)} + ", at most " +
                                                std::string{to_string(highest)});
  return wanted.value_or(highest);
}

checked<login_grant> authority::login(std::uint32_t uid, std::uint32_t gid,
                                      const public_key& holder, std::optional<account_role> wanted,
                                      std::int64_t life_max_ns) {
  auto now = clock_->utc();
  if (auto fresh = verifier_->revocations().accepts_new(clock_->boot()); !fresh)
    return tl::unexpected{fresh.error()};
  if (verifier_->revocations().uid_revoked(uid))
    return refuse(reason::revoked, "uid " + std::to_string(uid) +
                                       " is revoked; ask an administrator of the cluster");
  if (!acceptable_public_key(holder.data()))
    return refuse(reason::bad_key, "the client's key is not canonical or of small order");
  auto role = role_for(uid, wanted);
  if (!role)
    return tl::unexpected{role.error()};
  capability grant;
  grant.cluster = verifier_->options().cluster;
  grant.serial = random_bytes<16>();
  grant.who = {subject_kind::user, static_cast<std::uint8_t>(*role), uid, gid};
  grant.holder = holder;
  grant.meant_for = verifier_->options().meant_for;
  grant.verbs = verbs_of(*role);
  grant.not_before = now;
  grant.expires = now + std::min(options_.login_life_ns, life_max_ns);
  grant.depth_left = depth_max;
  return login_grant{issue_capability(key(), grant), *role, grant.serial, grant.expires};
}

checked<verified_capability> authority::role_capability(actor_role role, std::uint32_t uid,
                                                        std::uint32_t gid) {
  return verifier_->role_capability(role, key(), uid, gid, clock_->read());
}

// -- request ids -------------------------------------------------------------------------------

bool request_table::contains(const request_id& id, utc_ns not_after) const {
  const auto at = minutes_.find(not_after / minute_ns);
  return at != minutes_.end() && at->second.contains(id);
}

void request_table::add(const request_id& id, utc_ns not_after) {
  size_ += minutes_[not_after / minute_ns].insert(id).second;
}

void request_table::forget(utc_ns before) {
  while (!minutes_.empty() && (minutes_.begin()->first + 1) * minute_ns <= before)
    forget_first();
}

void request_table::forget_first() {
  if (minutes_.empty())
    return;
  size_ -= minutes_.begin()->second.size();
  minutes_.erase(minutes_.begin());
}

// -- warrants ---------------------------------------------------------------------------------

checked<void> authority::check_request_time(const job_request& request, utc_ns now) const {
  auto skew = verifier_->options().skew_ns;
  if (now < request.not_before - skew)
    return refuse(reason::not_yet_valid, name_of(request) + " is not valid yet; check the clocks");
  if (now > request.not_after + skew)
    return refuse(reason::expired, name_of(request) + " has expired; sign a new one");
  if (request.not_after - now > options_.request_life_max_ns)
    return refuse(reason::above_ceiling,
                  name_of(request) + " ends more than " +
                      std::to_string(options_.request_life_max_ns / ns_per_s) +
                      " s from now; sign a shorter one");
  return {};
}

checked<job_request> authority::check_application(const verified_capability& by,
                                                  const warrant_application& what, utc_ns now) {
  auto request = decode_job_request(what.request);
  if (!request)
    return request;
  if (auto ok = verifier_->verify_held_seal(domain::request, what.seal, what.request, by.holder());
      !ok)
    return tl::unexpected{ok.error()};
  if (request->cluster != verifier_->options().cluster)
    return refuse(reason::wrong_cluster, name_of(*request) + " is meant for another cluster");
  if (request->uid != by.who().uid)
    return refuse(reason::uid_mismatch,
                  name_of(*request) + " names uid " + std::to_string(request->uid) +
                      ", its capability is of uid " + std::to_string(by.who().uid));
  if (auto ok = check_request_time(*request, now); !ok)
    return tl::unexpected{ok.error()};
  if (request->spec_digest != what.spec_digest)
    return refuse(reason::digest_mismatch,
                  name_of(*request) + " was signed for another job than the one submitted");
  if (!(request->elements == what.elements))
    return refuse(reason::above_ceiling, name_of(*request) + " was signed for " +
                                             std::to_string(request->elements.count) +
                                             " elements, the job submitted has " +
                                             std::to_string(what.elements.count) + ", or others");
  if (what.most.nodes == 0 || what.most.cores == 0)
    return refuse(reason::malformed, name_of(*request) + " asks for no node or no core");
  return request;
}

checked<void> authority::burn(const job_request& request, request_kind kind, utc_ns now) {
  const auto dead = now - verifier_->options().skew_ns;
  burned_jobs_.forget(dead);
  burned_steps_.forget(dead);
  // An id is one's of both kinds.
  if (burned_jobs_.contains(request.id, request.not_after) ||
      burned_steps_.contains(request.id, request.not_after))
    return refuse(reason::replayed, name_of(request) + " was used already; sign a new one");
  auto& table = kind == request_kind::job ? burned_jobs_ : burned_steps_;
  if (table.size() >= options_.burned_max && kind == request_kind::job)
    table.forget_first();
  if (table.size() >= options_.burned_max)
    return refuse(reason::too_many, "the table of used requests for steps is full (" +
                                        std::to_string(options_.burned_max) + "); try again later");
  table.add(request.id, request.not_after);
  return {};
}

warrant authority::make_warrant(const verified_capability& by, const account& as,
                                const job_request& request, const warrant_application& what,
                                utc_ns now) {
  warrant made;
  made.cluster = request.cluster;
  made.job = next_job_++;
  made.request = request.id;
  made.spec_digest = request.spec_digest;
  made.exec_digest = what.exec_digest;
  made.uid = as.uid;
  made.gid = as.gid;
  made.groups = as.groups;
  made.most = what.most;
  made.elements = request.elements;
  made.incarnations_max = request.incarnations_max;
  made.may_spawn = request.may_spawn;
  made.origin_serial = by.serial();
  made.not_before = now;
  made.not_after = now + options_.warrant_life_ns;
  return made;
}

std::vector<checked<issued_warrant>>
authority::issue_warrants(const verified_capability& by, const account& as,
                          std::span<const warrant_application> batch) {
  auto now = clock_->utc();
  std::vector<checked<issued_warrant>> answers;
  answers.reserve(batch.size());
  auto refuse_all = [&](const refusal& why) {
    answers.assign(batch.size(), tl::unexpected<refusal>{why});
    return answers;
  };
  if (auto ok = by.check(verb::job_submit, clock_->now()); !ok)
    return refuse_all(ok.error());
  if (auto ok = verifier_->revocations().accepts_new(clock_->boot()); !ok)
    return refuse_all(ok.error());
  if (as.uid != by.who().uid || as.groups.size() > warrant_groups_max)
    return refuse_all(refuse(reason::uid_mismatch, "the account resolved for this submission is "
                                                   "not the capability's, or has over 1024 groups")
                          .value());
  if (batch.size() > seal_count_max)
    return refuse_all(
        refuse(reason::too_many,
               "at most 65,536 jobs can be submitted at once, not " + std::to_string(batch.size()))
            .value());

  std::vector<std::size_t> granted;
  for (const auto& what : batch) {
    if (!by.covers(resource_kind::jobs, next_job_)) {
      answers.push_back(refuse(reason::outside_resource,
                               "the capability reaches certain jobs only, and a new one is none of "
                               "them"));
      continue;
    }
    auto request = check_application(by, what, now);
    auto fresh = request ? burn(*request, request_kind::job, now) : tl::unexpected{request.error()};
    if (!fresh) {
      answers.push_back(tl::unexpected{fresh.error()});
      continue;
    }
    auto made = make_warrant(by, as, *request, what, now);
    granted.push_back(answers.size());
    answers.push_back(issued_warrant{made.job, made.request, encode(made), {}});
  }
  if (granted.empty())
    return answers;

  std::vector<byte_view> bodies;
  for (auto i : granted)
    bodies.push_back(answers[i]->body);
  auto seals = seal_batch(domain::warrant, key_id_, signing_.secret().view(), bodies);
  for (std::size_t i = 0; i < granted.size(); ++i) {
    if (seals)
      answers[granted[i]]->seal = std::move((*seals)[i]);
    else
      answers[granted[i]] = refuse(reason::malformed, seals.error().text);
  }
  return answers;
}

checked<issued_warrant> authority::amend_warrant(const verified_capability& by, byte_view body,
                                                 byte_view seal, const ceilings& most) {
  auto known = verifier_->verify_warrant(body, seal, passed_.utc());
  if (!known)
    return tl::unexpected{known.error()};
  auto amended = **known;
  if (auto ok = by.permits(verb::job_modify, verb::job_modify_any, amended.uid, amended.job,
                           clock_->now());
      !ok)
    return tl::unexpected{ok.error()};
  if (ended(amended.job))
    return refuse(reason::outside_resource, "job " + std::to_string(amended.job) + " has ended");
  amended.most = most;
  issued_warrant made{amended.job, amended.request, encode(amended), {}};
  const std::vector<byte_view> bodies{made.body};
  auto seals = seal_batch(domain::warrant, key_id_, signing_.secret().view(), bodies);
  if (!seals)
    return refuse(reason::malformed, seals.error().text);
  made.seal = std::move(seals->front());
  return made;
}

// -- orders -----------------------------------------------------------------------------------

checked<order_view> authority::check_order(const verified_capability& by,
                                           const order_application& what) {
  order_view order;
  if (auto bad = decode_order(what.order, order))
    return refuse(reason::malformed, bad.text);
  if (auto ok = by.check_on(verb::order_sign, resource_kind::jobs, order.job, clock_->now()); !ok)
    return tl::unexpected{ok.error()};
  if (ended(order.job))
    return refuse(reason::duplicate_order,
                  "job " + std::to_string(order.job) + " has ended; nothing is signed for it");
  auto allowed = verifier_->verify_warrant(what.warrant, what.warrant_seal, passed_.utc());
  if (!allowed)
    return tl::unexpected{allowed.error()};
  if (auto ok = check_order_against_warrant(order, **allowed); !ok)
    return tl::unexpected{ok.error()};
  if (auto bound = by.bound().incarnation; bound != 0 && bound != order.incarnation)
    return refuse(reason::outside_resource, "the capability is bound to incarnation " +
                                                std::to_string(bound) + " of job " +
                                                std::to_string(order.job));
  // Ours and the launcher's: one machine, one boot clock.
  const auto now = clock_->boot();
  const auto skew = verifier_->options().skew_ns;
  if (order.issued_ns > now + skew || order.expires_ns <= now ||
      order.expires_ns > now + order_lifetime_ns_max + skew)
    return refuse(order.expires_ns <= now ? reason::expired : reason::not_yet_valid,
                  "an order of job " + std::to_string(order.job) +
                      " is not valid now for at most 60 s; make it anew");
  if (auto ok = book_.check(order, what.order); !ok)
    return tl::unexpected{ok.error()};
  return order;
}

checked<std::vector<std::vector<std::uint8_t>>>
authority::sign_orders(const verified_capability& by, std::span<const order_application> batch) {
  if (batch.empty() || batch.size() > seal_count_max)
    return refuse(reason::too_many,
                  "1 to 65,536 orders are signed at once, not " + std::to_string(batch.size()));
  std::vector<order_view> entered;
  auto undo = [&] {
    for (const auto& order : entered)
      book_.release_elements(order.job, order.incarnation, order.step, order.node_id,
                             order.element_first, order.element_first + (order.element_count - 1));
  };
  std::vector<byte_view> bodies;
  bodies.reserve(batch.size());
  for (const auto& what : batch) {
    auto order = check_order(by, what);
    if (!order) {
      undo();
      return tl::unexpected{order.error()};
    }
    if (book_.enter(*order, what.order))
      entered.push_back(*order);
    bodies.push_back(what.order);
  }
  auto seals = seal_batch(domain::order, key_id_, signing_.secret().view(), bodies);
  if (!seals) {
    undo();
    return refuse(reason::malformed, seals.error().text);
  }
  return std::move(*seals);
}

void authority::forget_job(std::uint64_t job) {
  book_.release_job(job);
  verifier_->revocations().forget_job(job);
  verifier_->forget_job(job);
  end_job(job);
}

void authority::end_job(std::uint64_t job) {
  if (ended(job))
    return;
  auto after = ended_.upper_bound(job);
  auto last = job;
  if (after != ended_.end() && after->first == job + 1) {
    last = after->second;
    after = ended_.erase(after);
  }
  if (after != ended_.begin() && std::prev(after)->second + 1 == job)
    std::prev(after)->second = last;
  else
    ended_.emplace_hint(after, job, last);
  if (ended_.size() > ended_ranges_max)
    ended_.erase(ended_.begin());
}

bool authority::ended(std::uint64_t job) const {
  auto after = ended_.upper_bound(job);
  return after != ended_.begin() && std::prev(after)->second >= job;
}

} // namespace troupe::auth
