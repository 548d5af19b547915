// SPDX-License-Identifier: Apache-2.0
#include "actors/authority.hpp"
#include "messages/exec.hpp"

#include <fmt/format.h>

// Purpose: the authority's word that a step of a running job was asked for.
// Input:   the job's own warrant, the step's spec, and the request that its owner signed; or none,
//          when a rank spawns and the job's warrant allows it.
// Action:  a warrant for this one step and incarnation, within the job's.

namespace troupe::actors {

expected<step_warranted> authority_state::step_warrant(request<warrant_step>& what) {
  if (auto ok = audit_->accepts(); !ok)
    return tl::unexpected<error>{ok.error()};
  const auto& asked = what.msg;
  const auto& spec = *asked.what.spec;
  auto exec = auth::encode_exec_spec(to_exec_spec(spec));
  if (!exec)
    return tl::unexpected<error>{exec.error()};
  auth::step_application step;
  step.what.request = asked.what.request.body;
  step.what.seal = asked.what.request.seal;
  step.what.spec_digest = spec_digest(spec);
  step.what.exec_digest = auth::exec_spec_digest(*exec);
  step.what.elements = summary_of_elements(spec);
  step.what.most = ceilings_of(spec);
  step.job_warrant = asked.job_event->warrant;
  step.job_seal = asked.job_event->warrant_seal;
  step.job = spec.step_of;
  step.step = asked.step;
  step.incarnation = asked.incarnation;
  const auto uid = what.cap.who().uid;
  auto issued = core_->issue_step_warrant(what.cap, step);
  if (!issued) {
    audit_->refused(fmt::format("uid {}", uid), uid, issued.error().why, "run a step");
    return tl::unexpected<error>{issued.error()};
  }
  auth::audit_event event{"step_warrant", uid, "", {}};
  event.fields.emplace_back("job", std::to_string(issued->job));
  event.fields.emplace_back("step", std::to_string(asked.step));
  event.fields.emplace_back("serial", auth::to_hex(what.cap.serial()));
  if (auto kept = audit_->append(event); !kept)
    return tl::unexpected<error>{kept.error()};
  auto result = std::make_shared<submitted_event>();
  result->spec = spec;
  result->identity = asked.job_event->identity;
  result->warrant = std::move(issued->body);
  result->warrant_seal = std::move(issued->seal);
  return step_warranted{std::move(result)};
}

} // namespace troupe::actors
