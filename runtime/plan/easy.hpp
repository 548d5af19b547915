// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/plan/types.hpp"

namespace troupe::plan {

/// a + b, where the sum of anything with `never`, or past it, is `never`.
inline instant later(instant a, duration b) {
  return a == never || (b > 0 && a > never - b) ? never : a + b;
}

/// May a job that starts now and ends at `end` use what the reservation at `shadow` waits for?
/// Without a known end it may not, whatever the reservation waits for.
inline bool gone_by(instant end, instant shadow) {
  return end != never && end <= shadow;
}

/// Behind a blocked job with that reservation, any other starts if it fits now and either is gone
/// by then or takes only what is spare beside it.
template <class View, class Reservation>
void backfill_beside(View& view, Reservation& reservation) {
  while (auto job = view.candidate(reservation)) {
    bool gone = gone_by(view.end_if_started(*job), reservation.at());
    if (gone ? !view.fits_now(*job) : !view.fits_beside(reservation, *job)) {
      view.passed_over(*job);
      continue;
    }
    if (!gone)
      view.take_spare(reservation, *job);
    if (!view.start(*job, true))
      return;
  }
}

/// One pass of EASY backfill (Lifka, "The ANL/IBM SP scheduling system", 1995), whatever the
/// resources are: the first jobs of the queue start while they fit; the first that does not gets a
/// reservation at the earliest time at which the predicted ends of what runs let it fit; the others
/// may start beside it. Reservations are made anew in every pass.
///
/// `View` is the queue and the machine as this policy sees them:
///
///     auto head()                        the queue's first job, or nothing
///     bool fits_now(job)
///     bool start(job, bool backfilled)   takes it from the queue; false ends the pass
///     bool backfills()                   is anybody behind the head, and may he pass it?
///     auto& reserve(job)                 its reservation: at(), and what is spare beside it
///     auto candidate(reservation)        the next job behind the head, in backfill order, that is
///                                        worth a look; nothing at the end. Never one twice
///     instant end_if_started(job)        predicted
///     bool fits_beside(reservation, job) now, and beside the reservation
///     void take_spare(reservation, job)  it starts now and is not gone by then
///     void passed_over(job)              it goes on waiting; may get a reservation as well
template <class View>
void easy_pass(View& view) {
  auto blocked = view.head();
  while (blocked && view.fits_now(*blocked)) {
    if (!view.start(*blocked, false))
      return;
    blocked = view.head();
  }
  if (blocked && view.backfills())
    backfill_beside(view, view.reserve(*blocked));
}

} // namespace troupe::plan
