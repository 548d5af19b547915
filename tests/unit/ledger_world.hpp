// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/ledger/care.hpp"
#include "runtime/ledger/head.hpp"
#include "runtime/ledger/log_scan.hpp"
#include "runtime/ledger/store.hpp"
#include "tests/catch.hpp"

#include <cstdlib>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

// What the ledger's tests share: a directory that goes, a clock that counts, events of a small
// life.

namespace ledger_world {

using namespace troupe;
using namespace troupe::ledger;

/// The tests' numbers for states.
inline constexpr std::uint8_t pending = 0, running = 2, completed = 4, failed = 5, cancelled = 6;

class directory {
public:
  directory() {
    auto name = (std::filesystem::temp_directory_path() / "troupe-ledger-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr)
      path_ = name;
  }
  directory(const directory&) = delete;
  directory& operator=(const directory&) = delete;
  ~directory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string file(const std::string& name = "ledger.db") const { return path_ + "/" + name; }

private:
  std::string path_;
};

/// Each look at the clock is a second later.
class counting_clock final : public clock_source {
public:
  utc_ns utc() const override { return now_ += ns_per_s; }
  boot_ns boot() const override { return utc(); }

private:
  mutable utc_ns now_ = 1'000 * ns_per_s;
};

inline request_id request_of(std::uint64_t number) {
  request_id id{};
  store_le(id.data(), number);
  return id;
}

inline event submit(std::uint64_t job, std::uint32_t elements = 1, std::uint32_t uid = 1000) {
  event e;
  e.job = job;
  e.kind = event_kind::submitted;
  const auto text = "spec of " + std::to_string(job);
  e.payload.assign(text.begin(), text.end());
  e.change.emplace();
  e.change->submitted = submission{uid, "name" + std::to_string(job), request_of(job), elements};
  e.change->state = pending;
  return e;
}

inline event start(std::uint64_t job) {
  event e;
  e.job = job;
  e.kind = event_kind::starting;
  e.payload = {1, 2, 3};
  e.change.emplace();
  e.change->state = running;
  e.change->starts = true;
  return e;
}

inline event finish(std::uint64_t job, std::int32_t exit_code = 0) {
  event e;
  e.job = job;
  e.kind = event_kind::ended;
  e.change.emplace();
  e.change->state = exit_code == 0 ? completed : failed;
  e.change->ends = true;
  e.change->exit_code = exit_code;
  e.change->signal = 0;
  e.change->elements_done = 1;
  return e;
}

inline event finish_element(std::uint64_t job, std::uint32_t element, std::int32_t exit_code) {
  event e;
  e.job = job;
  e.element = element;
  e.kind = event_kind::ended;
  e.change.emplace();
  e.change->elements_done = 1;
  e.change->elements_failed = exit_code == 0 ? 0 : 1;
  e.change->element = element_end{exit_code == 0 ? completed : failed, exit_code, 0, 5, 0, "n1"};
  return e;
}

inline event cancel(std::uint64_t job) {
  event e;
  e.job = job;
  e.kind = event_kind::cancelled;
  e.change.emplace();
  e.change->state = cancelled;
  e.change->ends = true;
  e.change->reason = "cancelled by its owner";
  return e;
}

/// Both tables as values, to compare them.
struct tables_image {
  std::vector<job_row> jobs;
  std::vector<element_row> elements;
  bool operator==(const tables_image&) const = default;
};

inline tables_image image_of(store& from) {
  tables_image image;
  filter all;
  all.limit = ~std::uint64_t{0};
  bool read = bool(from.history(all, [&](const job_row& row) { image.jobs.push_back(row); }));
  for (const auto& job : image.jobs)
    read = read && from.elements_of(job.job, {0, whole_job},
                                    [&](const element_row& row) { image.elements.push_back(row); });
  if (!read)
    image.jobs.clear();
  return image;
}

/// A ledger in a directory of its own.
struct world {
  directory where;
  counting_clock clock;

  options how() const { return {where.file(), 1u << 16}; }
  expected<store> reopen() { return store::open(how(), clock); }
  std::string refusal(options with) {
    const auto s = store::open(std::move(with), clock);
    return s ? "opened" : s.error().text;
  }
  std::string refusal() { return refusal(how()); }
  /// Jobs 1 to `count`, half of them ended, in the database file alone.
  void make_jobs(std::uint64_t count) {
    auto s = reopen();
    REQUIRE(s);
    for (std::uint64_t job = 1; job <= count; ++job)
      REQUIRE(s->append(std::vector<event>{submit(job), start(job)}));
    for (std::uint64_t job = 1; job <= count; job += 2)
      REQUIRE(s->append(std::vector<event>{finish(job)}));
  }
};

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace ledger_world
