// SPDX-License-Identifier: Apache-2.0
// The reader of workload logs, the filter and a replay of what they leave. The first byte chooses
// where the input is cut and which policy plays it.
#include "runtime/sim/figures.hpp"
#include "runtime/sim/replay.hpp"

#include <cstdlib>

using namespace troupe;

namespace {

constexpr std::uint32_t processors = 64;

void must(bool holds) {
  if (!holds)
    std::abort();
}

sim::swf_log read(std::string_view text, std::size_t cut) {
  sim::swf_reader reader;
  reader.feed(text.substr(0, cut));
  reader.feed(text.substr(cut));
  return reader.finish();
}

void replay(const sim::swf_log& log, std::uint8_t choice) {
  auto work = sim::make_workload(log, processors);
  must(work.jobs.size() + work.without.total() == log.jobs.size());
  sim::replay_options how;
  how.machine = {processors, static_cast<plan::pool_policy>(choice % 4),
                 static_cast<plan::queue_order>(choice % 8),
                 static_cast<plan::queue_order>(choice / 8 % 8)};
  how.estimates = static_cast<plan::estimates>(choice / 3 % 3);
  how.events = static_cast<sim::event_mode>(choice / 64 % 2);
  auto starts = sim::replay(work.jobs, how);
  must(starts.has_value());
  for (std::size_t i = 0; i < work.jobs.size(); ++i)
    must((*starts)[i] >= work.jobs[i].submit && (*starts)[i] != plan::never);
  must(sim::figures_of(work.jobs, *starts, processors).utilisation <= 1 + 1e-9);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0)
    return 0;
  std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
  auto log = read(text, text.size());
  auto parts = read(text, text.empty() ? 0 : data[0] % text.size());
  must(log.jobs == parts.jobs && log.malformed == parts.malformed && log.lines == parts.lines);
  must(log.jobs.size() + log.malformed <= log.lines);
  for (const auto& job : log.jobs)
    must(job.id >= 0 && job.submit <= sim::time_s_max && job.run <= sim::time_s_max &&
         job.requested_time <= sim::time_s_max);
  replay(log, data[0]);
  return 0;
}
