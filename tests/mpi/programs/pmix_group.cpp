// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

#include <vector>

// All ranks make a group twice; its context numbers differ. Prints "context C".

namespace {

std::size_t construct(const client::session& s, const char* name) {
  std::vector<pmix_proc_t> members(s.size);
  for (unsigned rank = 0; rank < s.size; ++rank)
    PMIX_LOAD_PROCID(&members[rank], s.me.nspace, rank);
  pmix_info_t wish;
  bool yes = true;
  PMIX_INFO_LOAD(&wish, PMIX_GROUP_ASSIGN_CONTEXT_ID, &yes, PMIX_BOOL);
  pmix_info_t* results = nullptr;
  std::size_t count = 0;
  client::need("group", PMIx_Group_construct(name, members.data(), members.size(), &wish, 1,
                                             &results, &count));
  std::size_t context = 0;
  for (std::size_t i = 0; i < count; ++i)
    if (PMIX_CHECK_KEY(&results[i], PMIX_GROUP_CONTEXT_ID))
      context = results[i].value.data.size;
  client::need("group's end", PMIx_Group_destruct(name, nullptr, 0));
  return context;
}

} // namespace

int main() {
  const client::session s;
  const auto first = construct(s, "one");
  const auto second = construct(s, "two");
  if (first == 0 || first == second)
    return 2;
  std::printf("context %zu\n", first);
  s.end();
}
