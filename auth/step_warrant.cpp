// SPDX-License-Identifier: Apache-2.0
#include "auth/authority.hpp"
#include "auth/seal.hpp"

#include <algorithm>

// A step's warrant: never wider than its job's.

namespace troupe::auth {

namespace {

tl::unexpected<refusal> wider(const warrant& job, const std::string& what) {
  return refuse(reason::above_ceiling,
                "a step of job " + std::to_string(job.job) + " asks for " + what);
}

/// The step's ceilings: the job's own, where the step names none.
checked<ceilings> within(const ceilings& asked, const warrant& job) {
  if (asked.cores > job.most.cores)
    return wider(job, std::to_string(asked.cores) + " cores, its job has " +
                          std::to_string(job.most.cores));
  auto most = job.most;
  most.cores = asked.cores;
  if (asked.time_s != 0)
    most.time_s = most.time_s == 0 ? asked.time_s : std::min(most.time_s, asked.time_s);
  return most;
}

bool covers(const element_summary& job, const element_summary& step) {
  if (step.first != step.last)
    return false;
  if (job.first == no_element)
    return step.first == no_element;
  return job.first <= step.first && step.first <= job.last;
}

} // namespace

checked<warrant> authority::make_step_warrant(const verified_capability& by,
                                              const step_application& step, utc_ns now) {
  auto job = verifier_->verify_warrant(step.job_warrant, step.job_seal, passed_.utc());
  if (!job)
    return tl::unexpected{job.error()};
  const auto& whole = **job;
  if (step.step == 0 || whole.step != 0 || whole.job != step.job || step.incarnation == 0 ||
      step.incarnation > whole.incarnations_max || !covers(whole.elements, step.what.elements))
    return refuse(reason::malformed, "it is no step of job " + std::to_string(whole.job));
  if (ended(whole.job))
    return refuse(reason::outside_resource,
                  "job " + std::to_string(whole.job) + " has ended; it gets no further step");
  auto most = within(step.what.most, whole);
  if (!most)
    return tl::unexpected{most.error()};
  auto made = whole;
  made.step = step.step;
  made.most = *most;
  made.elements = step.what.elements;
  made.incarnations_max = step.incarnation;
  made.spec_digest = step.what.spec_digest;
  made.exec_digest = step.what.exec_digest;
  made.origin_serial = by.serial();
  made.not_before = now;
  if (step.what.request.empty()) {
    if (auto ok = by.check_on(verb::step_speak, resource_kind::jobs, whole.job, clock_->now()); !ok)
      return tl::unexpected{ok.error()};
    if (!whole.may_spawn)
      return refuse(reason::missing_verb, "job " + std::to_string(whole.job) +
                                              " was not submitted as one that may spawn");
    made.request = {};
    return made;
  }
  if (auto ok = by.check(verb::job_submit, clock_->now()); !ok)
    return tl::unexpected{ok.error()};
  if (by.who().uid != whole.uid)
    return refuse(reason::uid_mismatch, "job " + std::to_string(whole.job) + " is of uid " +
                                            std::to_string(whole.uid) +
                                            "; only its owner runs steps in it");
  auto request = check_application(by, step.what, now);
  if (!request)
    return tl::unexpected{request.error()};
  if (auto fresh = burn(*request, request_kind::step, now); !fresh)
    return tl::unexpected{fresh.error()};
  made.request = request->id;
  made.may_spawn = request->may_spawn;
  return made;
}

checked<issued_warrant> authority::issue_step_warrant(const verified_capability& by,
                                                      const step_application& step) {
  if (auto ok = verifier_->revocations().accepts_new(clock_->boot()); !ok)
    return tl::unexpected{ok.error()};
  auto made = make_step_warrant(by, step, clock_->utc());
  if (!made)
    return tl::unexpected{made.error()};
  issued_warrant issued{made->job, made->request, encode(*made), {}};
  auto seals = seal_batch(domain::warrant, key_id_, signing_.secret().view(),
                          std::vector<byte_view>{issued.body});
  if (!seals)
    return refuse(reason::malformed, seals.error().text);
  issued.seal = std::move(seals->front());
  return issued;
}

} // namespace troupe::auth
