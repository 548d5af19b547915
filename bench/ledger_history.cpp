// SPDX-License-Identifier: Apache-2.0
// A ledger with a long history: ledger_history FILE [JOBS] makes one with so many ended jobs
// (1,000,000), as a year leaves them: a submission with an environment, a start that had been
// promised half of the time, an end. A cluster that is started on it shows what a start and the
// questions about the past cost (bench/README.md).
#include "messages/cbor.hpp"
#include "messages/events.hpp"
#include "runtime/ledger/store.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>
#include <vector>

using namespace troupe;
using namespace troupe::ledger;

namespace {

constexpr std::uint64_t jobs_per_append = 5000;
constexpr utc_ns between_ns = 30 * ns_per_s; ///< two submissions: a million jobs are a year

submitted_event submission_of(std::uint64_t job) {
  submitted_event asked;
  asked.spec.name = "job" + std::to_string(job % 40);
  asked.spec.argv = {"./model", "--input", "case-" + std::to_string(job) + ".nc"};
  for (int i = 0; i < 25; ++i)
    asked.spec.env.push_back("VARIABLE_" + std::to_string(i) + "=/usr/share/something");
  asked.spec.cwd = "/home/somebody/project/run";
  asked.spec.stdout_path = "troupe-%j.out";
  asked.spec.tasks = 4;
  asked.spec.time_limit_s = 3600;
  asked.identity.uid = ::getuid();
  asked.identity.user = "user" + std::to_string(job % 40);
  asked.identity.home = "/home/somebody";
  asked.warrant.resize(184, static_cast<std::uint8_t>(job));
  asked.warrant_seal.resize(100, 7);
  return asked;
}

event submitted(std::uint64_t job) {
  event e;
  e.job = job;
  e.kind = event_kind::submitted;
  const auto asked = submission_of(job);
  e.payload = to_cbor(asked);
  e.change.emplace();
  e.change->submitted = submission{asked.identity.uid, asked.spec.name, request_id{}, 1};
  store_le(e.change->submitted->request->data(), job * 0x9e3779b97f4a7c15);
  e.change->state = 0;
  return e;
}

event started(std::uint64_t job, utc_ns at) {
  event e;
  e.job = job;
  e.incarnation = 1;
  e.kind = event_kind::starting;
  starting_event starting;
  starting.parts.resize(2);
  starting.instances.assign(2, std::vector<std::uint8_t>(16, 1));
  if (job % 2 == 0)
    starting.first_promised_utc_ns = starting.last_promised_utc_ns = at + ns_per_s;
  e.payload = to_cbor(starting);
  e.change.emplace();
  e.change->state = 2;
  e.change->starts = true;
  e.change->started_ns = at;
#ifndef TROUPE_LEDGER_1 // as the first release wrote it
  if (job % 2 == 0)
    e.change->promised = start_promise{at + ns_per_s, at + ns_per_s};
#endif
  return e;
}

event ended(std::uint64_t job, utc_ns at) {
  event e;
  e.job = job;
  e.incarnation = 1;
  e.kind = event_kind::ended;
  ended_event over;
  over.exit.state = job_state::completed;
  over.started_utc_ns = at;
  over.ended_utc_ns = at + 600 * ns_per_s;
  over.nodelist = "node1";
  over.cores = 4;
  over.user = "user" + std::to_string(job % 40);
  over.time_limit_s = 3600;
  e.payload = to_cbor(over);
  e.change.emplace();
  e.change->state = static_cast<std::uint8_t>(job_state::completed);
  e.change->ends = true;
  e.change->ended_ns = over.ended_utc_ns;
  e.change->exit_code = 0;
  e.change->elements_done = 1;
  return e;
}

/// The clock of a year that is over now.
class past_clock final : public clock_source {
public:
  utc_ns utc() const override { return now; }
  boot_ns boot() const override { return now; }
  utc_ns now = 0;
};

} // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: ledger_history FILE [JOBS]\n");
    return 2;
  }
  const auto count = argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  past_clock clock;
  clock.now = system_clock_source{}.utc() - static_cast<utc_ns>(count) * between_ns;
  options how;
  how.path = argv[1];
  auto to = store::open(how, clock);
  std::vector<event> batch;
  for (std::uint64_t job = 1; to && job <= count; ++job) {
    clock.now += between_ns;
    batch.push_back(submitted(job));
    batch.push_back(started(job, clock.now));
    batch.push_back(ended(job, clock.now));
    if (job % jobs_per_append != 0 && job != count)
      continue;
    if (auto kept = to->append(batch); !kept) {
      std::fprintf(stderr, "%s\n", kept.error().text.c_str());
      return 1;
    }
    batch.clear();
    to->shorten_log();
  }
  if (!to) {
    std::fprintf(stderr, "%s\n", to.error().text.c_str());
    return 1;
  }
  return to->checkpoint() ? 0 : 1;
}
