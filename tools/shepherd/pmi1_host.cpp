// SPDX-License-Identifier: Apache-2.0
#include "tools/shepherd/shepherd.hpp"

// PMI-1's needs, met by the same parts as PMIx's.

namespace troupe::shepherd {

namespace {

std::vector<std::vector<std::uint8_t>> data_of(const std::vector<contribution>& parts) {
  std::vector<std::vector<std::uint8_t>> all;
  for (const auto& part : parts)
    all.push_back(part.data);
  return all;
}

std::vector<std::uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

} // namespace

pmi1_host shepherd::pmi1_functions() {
  pmi1_host host;
  host.find_step = [this](std::uint32_t step) { return steps_.find(step); };
  host.barrier = [this](const step_state& step, std::vector<std::uint8_t> pairs, auto done) {
    collectives_.start(
        {collective_kind::barrier,
         {{step.about.nspace, pmix::rank_wildcard}},
         "",
         std::move(pairs),
         {}},
        [done](std::int32_t status, const auto& parts) { done(status == 0, data_of(parts)); });
  };
  host.abort = [this](const process_name& who, std::int32_t code, std::string message) {
    abort_step(who, code, std::move(message));
  };
  host.note = [this](const process_name& who, bool local_rank::*mark) { note_rank(who, mark); };
  host.publish = [this](const process_name& who, const std::string& name, const std::string& text,
                        bool outlives, auto done) {
    const std::uint32_t persistence = outlives ? PMIX_PERSIST_SESSION : PMIX_PERSIST_APP;
    publish_at_keeper({0, who, PMIX_RANGE_SESSION, persistence, {{who, name, bytes_of(text)}}},
                      [done](const answer& from) { done(from.status == PMIX_SUCCESS); });
  };
  host.unpublish = [this](const process_name& who, const std::string& name, auto done) {
    unpublish_at_keeper({0, who, PMIX_RANGE_SESSION, {name}},
                        [done](const answer& from) { done(from.status == PMIX_SUCCESS); });
  };
  host.lookup = [this](const process_name& who, const std::string& name, std::uint32_t wait_s,
                       auto done) {
    lookup_at_keeper({0, who, PMIX_RANGE_SESSION, wait_s != 0, wait_s, {name}},
                     [done](const answer& from) {
                       const bool found = from.status == PMIX_SUCCESS && !from.values.empty();
                       done(found, found ? std::string{as_text(from.values.front().value)} : "");
                     });
  };
  host.spawn = [this](spawn_request request, auto done) {
    ask_spawn(std::move(request),
              [done](const spawn_answer& from) { done(from.nspace, from.error); });
  };
  return host;
}

} // namespace troupe::shepherd
