// SPDX-License-Identifier: Apache-2.0
// What the ledger costs, beside the disk's own fdatasync rate measured in the same run.
// ledger_append [DIRECTORY]: works in a new directory below it (default: the current one) and
// removes it.
#include "base/unique_fd.hpp"
#include "runtime/ledger/store.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

using namespace troupe;
using namespace troupe::ledger;

namespace {

constexpr int sync_rounds = 300;
constexpr std::uint64_t pending_jobs = 50'000;
constexpr std::uint64_t loaded_jobs = 10'000;

class stopwatch {
public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

template <class T>
T need(expected<T> value) {
  if (value)
    return std::move(*value);
  std::fprintf(stderr, "%s\n", value.error().text.c_str());
  std::exit(1);
}

void need(const expected<void>& value) {
  if (value)
    return;
  std::fprintf(stderr, "%s\n", value.error().text.c_str());
  std::exit(1);
}

/// Appended blocks of 4 KiB, each synced: the most that any log on this disk can do one by one.
double raw_sync_rate(const std::string& path) {
  const unique_fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)};
  const std::vector<char> block(4096, 'x');
  const stopwatch watch;
  for (int i = 0; i < sync_rounds; ++i)
    if (::write(file.get(), block.data(), block.size()) != 4096 || ::fdatasync(file.get()) != 0)
      std::exit(1);
  return sync_rounds / watch.seconds();
}

event submit(std::uint64_t job, std::size_t payload_bytes) {
  event e;
  e.job = job;
  e.kind = event_kind::submitted;
  e.payload.resize(payload_bytes, static_cast<std::uint8_t>(job));
  e.change.emplace();
  e.change->submitted = submission{1000, "bench", request_id{}, 1};
  // Spread like random ids, so that the index works as it will.
  store_le(e.change->submitted->request->data(), job * 0x9e3779b97f4a7c15u);
  e.change->state = 0;
  return e;
}

event cancel(std::uint64_t job) {
  event e;
  e.job = job;
  e.kind = event_kind::cancelled;
  e.change.emplace();
  e.change->state = 6;
  e.change->ends = true;
  e.change->reason = "cancelled";
  return e;
}

template <class Make>
std::vector<event> events(std::uint64_t first, std::uint64_t count, Make make) {
  std::vector<event> all;
  for (auto job = first; job < first + count; ++job)
    all.push_back(make(job));
  return all;
}

double timed_append(store& s, const std::vector<event>& all) {
  const stopwatch watch;
  need(s.append(all));
  return watch.seconds();
}

void one_by_one(store& s, double raw) {
  const stopwatch watch;
  for (int i = 0; i < sync_rounds; ++i) {
    const event e = submit(s.highest_job() + 1, 300);
    need(s.append({&e, 1}));
  }
  const auto rate = sync_rounds / watch.seconds();
  std::printf("submissions one by one         %9.0f /s   %.0f %% of fdatasync\n", rate,
              100 * rate / raw);
}

void in_batches(store& s) {
  const event note = [] {
    event e;
    e.kind = event_kind::note;
    e.payload.resize(100);
    return e;
  }();
  const std::vector<event> notes(100'000, note);
  std::printf("events in one transaction      %9.0f /s\n",
              static_cast<double>(notes.size()) / timed_append(s, notes));
  need(s.checkpoint());

  const auto first = s.highest_job() + 1;
  const auto seconds = timed_append(
      s, events(first, pending_jobs, [](std::uint64_t job) { return submit(job, 300); }));
  std::printf("submissions in one transaction %9.0f /s\n", pending_jobs / seconds);
  need(s.checkpoint());
  const auto cancelled = timed_append(s, events(first, pending_jobs, cancel));
  std::printf("cancel %llu jobs             %9.1f ms\n",
              static_cast<unsigned long long>(pending_jobs), cancelled * 1e3);
  need(s.checkpoint());
}

void load(const std::string& path, const clock_source& clock) {
  {
    auto s = need(store::open({path, 0}, clock));
    need(s.append(events(s.highest_job() + 1, loaded_jobs,
                         [](std::uint64_t job) { return submit(job, 300); })));
  }
  const stopwatch watch;
  auto s = need(store::open({path, 0}, clock));
  const auto opened = watch.seconds();
  std::uint64_t count = 0;
  need(s.load_unfinished([&](const stored_event&) { ++count; }));
  std::printf("open                           %9.1f ms\n", opened * 1e3);
  std::printf("load %llu pending jobs       %9.1f ms\n", static_cast<unsigned long long>(count),
              (watch.seconds() - opened) * 1e3);
}

} // namespace

int main(int argc, char** argv) {
  auto folder = std::string{argc > 1 ? argv[1] : "."} + "/ledger-bench-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) {
    std::perror(folder.c_str());
    return 1;
  }
  const system_clock_source clock;
  const auto raw = raw_sync_rate(folder + "/raw");
  std::printf("fdatasync of 4 KiB appends     %9.0f /s\n", raw);
  {
    auto s = need(store::open({folder + "/ledger.db", 4u << 20, 256u << 20}, clock));
    one_by_one(s, raw);
    in_batches(s);
  }
  load(folder + "/pending.db", clock);
  std::filesystem::remove_all(folder);
}
