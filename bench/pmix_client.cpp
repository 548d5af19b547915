// SPDX-License-Identifier: Apache-2.0
// pmix_client [exec]: the least that a PMIx client does: init, a fence over all ranks, finalize.
// With "exec" it executes itself once more before that, and rank 0 prints the milliseconds from
// that exec to the end of finalize: what is measured begins with the loader, as for any program.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <pmix.h>
#include <string>
#include <unistd.h>

namespace {

constexpr char begin_variable[] = "TROUPE_BENCH_EXEC_NS";

long long now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

int failed(const char* doing, pmix_status_t status) {
  std::fprintf(stderr, "pmix_client: %s: %s\n", doing, PMIx_Error_string(status));
  return 1;
}

} // namespace

int main(int argc, char** argv) {
  const char* begin = std::getenv(begin_variable);
  if (argc > 1 && std::strcmp(argv[1], "exec") == 0 && begin == nullptr) {
    ::setenv(begin_variable, std::to_string(now_ns()).c_str(), 1);
    ::execv("/proc/self/exe", argv);
    std::perror("pmix_client");
    return 1;
  }
  pmix_proc_t me;
  if (const auto status = PMIx_Init(&me, nullptr, 0); status != PMIX_SUCCESS)
    return failed("init", status);
  pmix_proc_t all;
  PMIX_LOAD_PROCID(&all, me.nspace, PMIX_RANK_WILDCARD);
  if (const auto status = PMIx_Fence(&all, 1, nullptr, 0); status != PMIX_SUCCESS)
    return failed("fence", status);
  if (const auto status = PMIx_Finalize(nullptr, 0); status != PMIX_SUCCESS)
    return failed("finalize", status);
  if (begin != nullptr && me.rank == 0)
    std::printf("%.2f\n", static_cast<double>(now_ns() - std::atoll(begin)) / 1e6);
}
