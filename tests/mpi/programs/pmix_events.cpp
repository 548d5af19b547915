// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

// Rank 0 tells all others of an event; they wait for it. With "failure" the last rank dies instead,
// and the others wait for the event that says so.

int main(int argc, char** argv) {
  const bool failure = argc > 1 && std::strcmp(argv[1], "failure") == 0;
  const client::session s;
  const pmix_status_t code = failure ? PMIX_ERR_PROC_ABORTED : PMIX_EXTERNAL_ERR_BASE - 7;
  client::listen_for(code);
  s.fence();
  const auto source = failure ? s.size - 1 : 0;
  if (s.me.rank == source && failure)
    std::_Exit(9);
  if (s.me.rank == source)
    client::need("notify", PMIx_Notify_event(code, &s.me, PMIX_RANGE_NAMESPACE, nullptr, 0, nullptr,
                                             nullptr));
  else if (client::box.wait() != static_cast<int>(source) + 1)
    return 2;
  if (!failure)
    s.fence();
  s.end();
}
