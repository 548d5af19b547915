// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <pmix.h>
#include <string>

// A bare PMIx client: puts a value, fences with its whole job, and reads everybody else's. Prints
// "rank R of N: good". With an argument the value has that many bytes, and no data is collected.

namespace {

int fail(const char* doing, pmix_status_t status) {
  std::printf("%s: %s\n", doing, PMIx_Error_string(status));
  return 1;
}

std::string value_of(unsigned rank, std::size_t bytes) {
  return "value of " + std::to_string(rank) + std::string(bytes, 'x');
}

} // namespace

int main(int argc, char** argv) {
  const std::size_t bytes = argc > 1 ? std::stoul(argv[1]) : 0;
  const bool direct = argc > 1;
  pmix_proc_t me;
  if (auto status = PMIx_Init(&me, nullptr, 0); status != PMIX_SUCCESS)
    return fail("init", status);
  pmix_proc_t all;
  PMIX_LOAD_PROCID(&all, me.nspace, PMIX_RANK_WILDCARD);
  pmix_value_t* size = nullptr;
  if (auto status = PMIx_Get(&all, PMIX_JOB_SIZE, nullptr, 0, &size); status != PMIX_SUCCESS)
    return fail("job size", status);
  const auto ranks = size->data.uint32;
  auto text = value_of(me.rank, bytes);
  pmix_value_t value;
  PMIX_VALUE_LOAD(&value, text.c_str(), PMIX_STRING);
  if (auto status = PMIx_Put(PMIX_GLOBAL, "greeting", &value); status != PMIX_SUCCESS)
    return fail("put", status);
  if (auto status = PMIx_Commit(); status != PMIX_SUCCESS)
    return fail("commit", status);
  bool collect = true;
  pmix_info_t info;
  PMIX_INFO_LOAD(&info, PMIX_COLLECT_DATA, &collect, PMIX_BOOL);
  if (auto status = PMIx_Fence(&all, 1, direct ? nullptr : &info, direct ? 0 : 1);
      status != PMIX_SUCCESS)
    return fail("fence", status);
  for (unsigned rank = 0; rank < ranks; ++rank) {
    pmix_proc_t other;
    PMIX_LOAD_PROCID(&other, me.nspace, rank);
    pmix_value_t* got = nullptr;
    if (auto status = PMIx_Get(&other, "greeting", nullptr, 0, &got); status != PMIX_SUCCESS)
      return fail("get", status);
    if (value_of(rank, bytes) != got->data.string) {
      std::printf("rank %u's value is wrong\n", rank);
      return 1;
    }
    PMIX_VALUE_RELEASE(got);
  }
  if (auto status = PMIx_Fence(&all, 1, nullptr, 0); status != PMIX_SUCCESS)
    return fail("last fence", status);
  std::printf("rank %u of %u: good\n", me.rank, ranks);
  if (auto status = PMIx_Finalize(nullptr, 0); status != PMIX_SUCCESS)
    return fail("finalize", status);
  return 0;
}
