// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <pmix.h>

// Connects, and ends without a further word: 0 where the server took it.
int main() {
  pmix_proc_t me;
  const auto status = PMIx_Init(&me, nullptr, 0);
  std::printf("init: %s\n", PMIx_Error_string(status));
  std::fflush(stdout);
  std::_Exit(status == PMIX_SUCCESS ? 0 : 1);
}
