// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

#include <csignal>
#include <unistd.h>

// pmix_ends HOW: the last rank aborts ("abort", code 33), or ends before a fence that the others
// wait in ("leave"): they must hear an error. "late": it never comes to a fence, or connection,
// that has a timeout of 1 s. "wait" waits for ever.

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  const client::session s;
  s.fence();
  std::printf("rank %u is in\n", s.me.rank);
  std::fflush(stdout);
  const bool last = s.me.rank == s.size - 1;
  if (how == "abort" && last)
    client::need("abort", PMIx_Abort(33, "enough of it", nullptr, 0));
  if (how == "leave" && last)
    std::_Exit(0);
  if (how == "wait")
    for (;;)
      ::pause();
  pmix_info_t timeout;
  int seconds = 1;
  PMIX_INFO_LOAD(&timeout, PMIX_TIMEOUT, &seconds, PMIX_INT);
  const bool late = how == "late";
  if (late && last)
    for (;;)
      ::pause();
  if (late && PMIx_Connect(&s.all, 1, &timeout, 1) != PMIX_ERR_TIMEOUT)
    std::printf("connect has no timeout\n");
  const auto status = PMIx_Fence(&s.all, 1, late ? &timeout : nullptr, late ? 1 : 0);
  // The library's own words for these differ from version to version.
  std::printf("fence: %s\n", status == PMIX_ERR_TIMEOUT        ? "TIMEOUT"
                             : status == PMIX_ERR_PROC_ABORTED ? "PROC-ABORTED"
                                                               : PMIx_Error_string(status));
  std::fflush(stdout);
  std::_Exit(status == PMIX_SUCCESS ? 1 : 0);
}
