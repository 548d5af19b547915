// SPDX-License-Identifier: Apache-2.0
#include "actors/client_templates.hpp"

#include <algorithm>
#include <cmath>

// Purpose: what is asked of the past: org.troupe.jobs.History and Estimates, org.troupe.ledger.
// Action:  histories are asked for page by page. With 'more' each page goes to the client before
//          the next one is asked for; without, one answer has them all.

namespace troupe::actors {

namespace {

constexpr std::uint32_t history_rows_in_a_piece = 1000;

double median(std::vector<double> values) {
  if (values.empty())
    return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// What all pages of one listing of promised starts come to.
class estimate_sums {
public:
  void add(const std::vector<estimate_row>& rows) {
    for (const auto& row : rows) {
      const auto off = [&](utc_ns promised) {
        return static_cast<double>(row.started_utc_ns - promised) / ns_per_s;
      };
      const auto error = off(row.first_promised_utc_ns);
      sum_ += error;
      max_ = std::max(max_, error);
      late_ += error > 0;
      first_.push_back(std::abs(error));
      last_.push_back(std::abs(off(row.last_promised_utc_ns)));
    }
  }

  estimate_summary summary() const {
    estimate_summary result;
    result.jobs = first_.size();
    result.late = late_;
    result.first_error_max_s = max_;
    result.first_error_mean_s = first_.empty() ? 0 : sum_ / static_cast<double>(first_.size());
    result.first_error_abs_median_s = median(first_);
    result.last_error_abs_median_s = median(last_);
    return result;
  }

private:
  double sum_ = 0, max_ = 0;
  std::uint64_t late_ = 0;
  std::vector<double> first_, last_;
};

} // namespace

/// What is still to be told of one call of History or Estimates.
template <class Query, class Reply>
struct client_state::past_listing {
  slot_ptr slot;
  json_style style;
  Query asked;
  std::uint32_t left = 0; ///< rows that are still wanted
  Reply gathered;         ///< of who wants one answer
  estimate_sums sums;
};

template <class Query, class Reply>
void client_state::past_part(const std::shared_ptr<past_listing<Query, Reply>>& of) {
  if (closed_)
    return;
  if (of->slot->more && !has_its_turn(of->slot)) {
    paused_.emplace_back([=, this] { past_part(of); });
    return;
  }
  of->asked.rows_max = std::min(of->left, history_rows_in_a_piece);
  forward_large(to_->ledger, Query{of->asked}, of->slot, [this, of](typename Query::answer& page) {
    of->left -= std::min(of->left, static_cast<std::uint32_t>(page.rows.size()));
    of->asked.before = page.before;
    if constexpr (std::is_same_v<Query, query_estimates>)
      of->sums.add(page.rows);
    auto& all = of->gathered.rows;
    std::move(page.rows.begin(), page.rows.end(), std::back_inserter(all));
    if (page.before == 0 || of->left == 0) {
      if constexpr (std::is_same_v<Query, query_estimates>)
        of->gathered.summary = of->sums.summary();
      answer(of->slot, of->gathered, of->style);
      return;
    }
    if (of->slot->more && !all.empty()) {
      answer_part(of->slot, of->gathered, of->style);
      all.clear();
    }
    past_part(of);
  });
}

void client_state::history(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::history>(parameters, slot);
  if (!call)
    return;
  auto of = std::make_shared<past_listing<query_history, calls::rows_reply>>();
  of->slot = slot;
  of->style = {visibility::public_, call->brief ? json_defaults::left_out : json_defaults::written};
  of->asked.selector = std::move(call->selector);
  of->asked.since_utc_ns = call->since_utc_ns;
  of->asked.until_utc_ns = call->until_utc_ns;
  of->left = call->rows_max;
  past_part(of);
}

void client_state::estimates(std::string_view parameters, const slot_ptr& slot) {
  auto call = parse<calls::estimates>(parameters, slot);
  if (!call)
    return;
  auto of = std::make_shared<past_listing<query_estimates, calls::estimates::reply>>();
  of->slot = slot;
  of->asked.selector = std::move(call->selector);
  of->asked.since_utc_ns = call->since_utc_ns;
  of->left = call->rows_max;
  past_part(of);
}

} // namespace troupe::actors
