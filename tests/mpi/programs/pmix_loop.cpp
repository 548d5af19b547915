// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

// pmix_loop COUNT BYTES: that many times puts a value of that size, fences with data and reads the
// neighbour's.

namespace {

void turn(const client::session& s, int number, std::size_t bytes) {
  const auto key = "k" + std::to_string(number);
  const auto text = std::to_string(s.me.rank) + std::string(bytes, 'y');
  pmix_value_t value;
  PMIX_VALUE_LOAD(&value, text.c_str(), PMIX_STRING);
  client::need("put", PMIx_Put(PMIX_GLOBAL, key.c_str(), &value));
  PMIX_VALUE_DESTRUCT(&value);
  client::need("commit", PMIx_Commit());
  bool collect = true;
  pmix_info_t info;
  PMIX_INFO_LOAD(&info, PMIX_COLLECT_DATA, &collect, PMIX_BOOL);
  client::need("fence", PMIx_Fence(&s.all, 1, &info, 1));
  pmix_proc_t other;
  PMIX_LOAD_PROCID(&other, s.me.nspace, (s.me.rank + 1) % s.size);
  pmix_value_t* got = nullptr;
  client::need("get", PMIx_Get(&other, key.c_str(), nullptr, 0, &got));
  if (std::to_string(other.rank) + std::string(bytes, 'y') != got->data.string)
    client::need("the value", PMIX_ERR_BAD_PARAM);
  PMIX_VALUE_RELEASE(got);
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 3)
    return 2;
  const client::session s;
  for (int i = 0; i < std::atoi(argv[1]); ++i)
    turn(s, i, std::stoul(argv[2]));
  s.end();
}
