// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

// Prints what a rank is told of its place: "rank R local L node NAME nodes N cpus C locality yes".

namespace {

std::string text(const pmix_proc_t& who, const char* key) {
  pmix_value_t* value = nullptr;
  if (PMIx_Get(&who, key, nullptr, 0, &value) != PMIX_SUCCESS)
    return "-";
  std::string answer = "?";
  if (value->type == PMIX_STRING)
    answer = value->data.string;
  if (value->type == PMIX_UINT16)
    answer = std::to_string(value->data.uint16);
  if (value->type == PMIX_UINT32)
    answer = std::to_string(value->data.uint32);
  PMIX_VALUE_RELEASE(value);
  return answer;
}

} // namespace

int main() {
  const client::session s;
  std::printf("rank %u local %s node %s nodes %s peers %s cpus %s locality %s\n", s.me.rank,
              text(s.me, PMIX_LOCAL_RANK).c_str(), text(s.me, PMIX_HOSTNAME).c_str(),
              text(s.all, PMIX_NUM_NODES).c_str(), text(s.all, PMIX_LOCAL_PEERS).c_str(),
              text(s.me, PMIX_CPUSET).c_str(),
              text(s.me, PMIX_LOCALITY_STRING) == "-" ? "no" : "yes");
  s.end();
}
