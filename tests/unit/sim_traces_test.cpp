// SPDX-License-Identifier: Apache-2.0
// Schedules that others published, start by start. The logs' sources are in tests/traces/README.md.
#include "runtime/sim/figures.hpp"
#include "runtime/sim/input.hpp"
#include "runtime/sim/replay.hpp"
#include "tests/catch.hpp"

#include <charconv>
#include <cmath>

namespace {

using namespace troupe;
using plan::estimates;
using plan::pool_policy;
using plan::queue_order;

const std::string traces = TROUPE_TRACES "/";

struct trace {
  std::string log;
  std::uint32_t processors;
  std::vector<sim::workload_job> jobs;
};

trace read_trace(const std::string& log, std::uint32_t processors) {
  auto read = sim::read_swf_file(traces + log + ".sc15-filtered.swf.gz");
  REQUIRE(read);
  REQUIRE(read->malformed == 0);
  auto work = sim::make_workload(*read, processors);
  REQUIRE(work.without.total() == 0);
  return {log, processors, std::move(work.jobs)};
}

const trace& kth() {
  static const auto read = read_trace("KTH-SP2-1996-2", 100);
  return read;
}

const trace& sdsc() {
  static const auto read = read_trace("SDSC-SP2-1998-4.2-cln", 128);
  return read;
}

std::vector<std::int64_t> read_waits(const std::string& path) {
  std::string text;
  REQUIRE(sim::read_file(path, [&](std::string_view bytes) { text += bytes; }));
  std::vector<std::int64_t> waits;
  for (const auto* at = text.data(); at < text.data() + text.size();) {
    auto [end, wrong] = std::from_chars(at, text.data() + text.size(), waits.emplace_back());
    REQUIRE(wrong == std::errc{});
    at = end + 1;
  }
  return waits;
}

sim::replay_options options(const trace& of, pool_policy policy, estimates kind,
                            queue_order backfill = queue_order::fcfs) {
  sim::replay_options out;
  out.machine = {of.processors, policy, queue_order::fcfs, backfill};
  out.estimates = kind;
  return out;
}

sim::schedule_figures figures(const trace& of, const sim::replay_options& how) {
  auto starts = sim::replay(of.jobs, how);
  REQUIRE(starts);
  return sim::figures_of(of.jobs, *starts, of.processors);
}

/// How many starts differ from the published schedule.
std::size_t differing(const trace& of, const std::string& schedule,
                      const sim::replay_options& how) {
  auto starts = sim::replay(of.jobs, how);
  REQUIRE(starts);
  auto waits = read_waits(traces + of.log + "." + schedule + ".waits.gz");
  REQUIRE(waits.size() == starts->size());
  std::size_t count = 0;
  for (std::size_t i = 0; i < waits.size(); ++i)
    count += of.jobs[i].submit + waits[i] != (*starts)[i];
  return count;
}

/// To the two digits that are printed.
bool prints(double value, double published) {
  return std::abs(value - published) < 0.005 + 1e-9;
}

} // namespace

TEST_CASE("clairvoyant EASY starts every job of KTH-SP2 and SDSC-SP2 when it was published to") {
  CHECK(differing(kth(), "easy-actual", options(kth(), pool_policy::easy, estimates::actual)) == 0);
  CHECK(differing(sdsc(), "easy-actual", options(sdsc(), pool_policy::easy, estimates::actual)) ==
        0);
}

TEST_CASE("EASY starts every job of KTH-SP2 and SDSC-SP2 when it was published to") {
  CHECK(differing(kth(), "easy", options(kth(), pool_policy::easy, estimates::request)) == 0);
  CHECK(differing(sdsc(), "easy", options(sdsc(), pool_policy::easy, estimates::request)) == 0);
}

TEST_CASE("EASY-SJBF, with requests and clairvoyant, starts every job as published") {
  auto requests = options(kth(), pool_policy::easy, estimates::request, queue_order::sjf);
  CHECK(differing(kth(), "easy-sjf", requests) == 0);
  auto actual = options(kth(), pool_policy::easy, estimates::actual, queue_order::sjf);
  CHECK(differing(kth(), "easy-sjf-actual", actual) == 0);
}

TEST_CASE("EASY++ starts every job as published") {
  auto how = options(kth(), pool_policy::easy, estimates::user_average, queue_order::sjf);
  CHECK(differing(kth(), "easy-sjf-user-average", how) == 0);
}

TEST_CASE("conservative backfill and plain first come first served start every job as published") {
  auto conservative = options(kth(), pool_policy::conservative, estimates::request);
  CHECK(differing(kth(), "conservative", conservative) == 0);
  CHECK(differing(kth(), "fcfs", options(kth(), pool_policy::fcfs, estimates::request)) == 0);
}

TEST_CASE("the published averages come out to their printed digits") {
  auto easy = figures(kth(), options(kth(), pool_policy::easy, estimates::request));
  CHECK(prints(easy.avebsld, 92.58));
  CHECK(prints(easy.mean_wait_s, 6836.87));
  CHECK(easy.makespan_s == 29'363'626);
  CHECK(std::abs(easy.utilisation - 0.6856) < 0.00005);
  easy = figures(sdsc(), options(sdsc(), pool_policy::easy, estimates::request));
  CHECK(prints(easy.avebsld, 87.87));
  CHECK(prints(easy.mean_wait_s, 20497.76));
  CHECK(easy.makespan_s == 63'192'188);
  auto sjbf = options(sdsc(), pool_policy::easy, estimates::request, queue_order::sjf);
  CHECK(prints(figures(sdsc(), sjbf).avebsld, 84.89));
  sjbf.estimates = estimates::actual;
  CHECK(prints(figures(sdsc(), sjbf).avebsld, 56.84));
  auto conservative = options(sdsc(), pool_policy::conservative, estimates::request);
  CHECK(prints(figures(sdsc(), conservative).mean_wait_s, 21889.30));
}

TEST_CASE("EASY++ has its published averages with either correction") {
  auto how = options(sdsc(), pool_policy::easy, estimates::user_average, queue_order::sjf);
  CHECK(prints(figures(sdsc(), how).avebsld, 79.40));
  how.correction = plan::correction::request;
  CHECK(prints(figures(sdsc(), how).avebsld, 65.06));
  auto of_kth = options(kth(), pool_policy::easy, estimates::user_average, queue_order::sjf);
  of_kth.correction = plan::correction::request;
  CHECK(prints(figures(kth(), of_kth).avebsld, 62.86));
}

TEST_CASE("deciding once for each instant is the other, known average") {
  auto how = options(kth(), pool_policy::easy, estimates::request);
  how.events = sim::event_mode::instant;
  CHECK(prints(figures(kth(), how).avebsld, 92.69));
}

TEST_CASE("the default policy is better than every published row that knows no run times") {
  auto beats = [](const trace& of, double published) {
    auto easy = figures(of, options(of, pool_policy::easy, estimates::request));
    auto how = options(of, pool_policy::slowdown, estimates::request);
    for (auto mode : {sim::event_mode::each, sim::event_mode::instant}) {
      how.events = mode;
      auto ours = figures(of, how);
      INFO(of.log << ": " << ours.avebsld << ", longest wait " << ours.longest_wait_s << " s");
      CHECK(ours.avebsld < published);
      CHECK(static_cast<double>(ours.longest_wait_s) <=
            1.5 * static_cast<double>(easy.longest_wait_s));
      CHECK(ours.utilisation >= easy.utilisation);
    }
  };
  beats(kth(), 51.44);
  beats(sdsc(), 65.06);
}

TEST_CASE("the filter leaves of the archive's log what the paper's data have") {
  auto log = sim::read_swf_file(traces + "KTH-SP2-1996-2.swf.gz");
  REQUIRE(log);
  CHECK(log->jobs.size() == 28'489);
  auto work = sim::make_workload(*log, 100);
  REQUIRE(work.jobs.size() == kth().jobs.size());
  std::size_t different = 0;
  for (std::size_t i = 0; i < work.jobs.size(); ++i) {
    const auto& a = work.jobs[i];
    const auto& b = kth().jobs[i];
    different += a.submit != b.submit || a.run != b.run || a.request != b.request ||
                 a.processors != b.processors;
  }
  CHECK(different == 0);
}
