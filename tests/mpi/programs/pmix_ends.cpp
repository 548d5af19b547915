// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

#include <csignal>
#include <unistd.h>

// pmix_ends HOW: the last rank aborts ("abort", code 33), or ends before a fence that the others
// wait in ("leave"): they must hear an error. "wait" waits for ever.

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
  const auto status = PMIx_Fence(&s.all, 1, nullptr, 0);
  std::printf("fence: %s\n", PMIx_Error_string(status));
  std::fflush(stdout);
  std::_Exit(status == PMIX_SUCCESS ? 1 : 0);
}
