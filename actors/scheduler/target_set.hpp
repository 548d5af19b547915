// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/interval_set.hpp"
#include "messages/types.hpp"

#include <map>
#include <vector>

namespace troupe::actors {

/// Jobs [first, last].
struct job_range {
  job_id first = 0;
  job_id last = 0;
  bool operator==(const job_range&) const = default;
};

/// The jobs and elements that a client named, each once however often it was named: what a handler
/// goes through is bounded by what there is, not by what was written.
class target_set {
public:
  /// Fails for a range that ends before it begins, for elements of several jobs, and for an element
  /// that no array can have.
  static expected<target_set> of(const std::vector<job_selector::target>& targets);

  /// Jobs that were named as a whole; disjoint, ascending.
  const std::vector<job_range>& whole() const { return whole_; }
  /// Elements of jobs that were not.
  const std::map<job_id, interval_set>& elements() const { return elements_; }
  /// Both: every job that is meant; disjoint, ascending.
  const std::vector<job_range>& jobs() const { return jobs_; }
  /// The ranges as they were written, each once.
  const std::vector<job_range>& as_named() const { return as_named_; }
  /// Named by its own number, not by a range.
  bool by_number(job_id job) const;
  /// How many jobs and elements these are.
  std::uint64_t count() const;

private:
  std::vector<job_range> whole_, jobs_, as_named_;
  std::map<job_id, interval_set> elements_;
};

} // namespace troupe::actors
