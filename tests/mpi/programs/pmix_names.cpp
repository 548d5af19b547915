// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

// Publish, lookup (waiting and not), unpublish, a value that goes at its first read, connect and
// disconnect. "alone": rank 0 ends, and its node's shepherd, which keeps what is published, with
// it; the others wait for a value without a limit of time, and hear that they wait for nothing.

namespace {

void publish(const char* key, const char* text, bool once) {
  pmix_info_t infos[2];
  PMIX_INFO_LOAD(&infos[0], key, text, PMIX_STRING);
  pmix_persistence_t persistence = once ? PMIX_PERSIST_FIRST_READ : PMIX_PERSIST_APP;
  PMIX_INFO_LOAD(&infos[1], PMIX_PERSISTENCE, &persistence, PMIX_PERSIST);
  client::need("publish", PMIx_Publish(infos, 2));
}

pmix_status_t lookup(const char* key, const char* text, bool waits) {
  pmix_pdata_t data;
  PMIX_PDATA_CONSTRUCT(&data);
  PMIX_LOAD_KEY(data.key, key);
  pmix_info_t infos[2];
  int all = 0;
  int seconds = 20;
  PMIX_INFO_LOAD(&infos[0], PMIX_WAIT, &all, PMIX_INT);
  PMIX_INFO_LOAD(&infos[1], PMIX_TIMEOUT, &seconds, PMIX_INT);
  const auto status = PMIx_Lookup(&data, 1, waits ? infos : nullptr, waits ? 2 : 0);
  if (status == PMIX_SUCCESS && std::strcmp(data.value.data.string, text) != 0)
    client::need("the value", PMIX_ERR_BAD_PARAM);
  return status;
}

void names(const client::session& s) {
  const bool first = s.me.rank == 0;
  const bool last = s.me.rank == s.size - 1;
  if (last)
    client::need("waiting lookup", lookup("later", "a text", true));
  if (first) {
    publish("later", "a text", false);
    publish("once", "read me once", true);
  }
  s.fence();
  if (last) {
    client::need("first read", lookup("once", "read me once", false));
    client::need("second read", lookup("once", "", false), PMIX_ERR_NOT_FOUND);
  }
  s.fence();
  if (first) {
    char* keys[] = {const_cast<char*>("later"), nullptr};
    client::need("unpublish", PMIx_Unpublish(keys, nullptr, 0));
  }
  s.fence();
  if (last)
    client::need("lookup of nothing", lookup("later", "", false), PMIX_ERR_NOT_FOUND);
}

void connections(const client::session& s) {
  client::need("connect", PMIx_Connect(&s.all, 1, nullptr, 0));
  client::need("disconnect", PMIx_Disconnect(&s.all, 1, nullptr, 0));
}

/// With PMIX_WAIT alone: for as long as it takes.
void wait_for_nothing(const client::session& s) {
  std::printf("rank %u asks\n", s.me.rank);
  std::fflush(stdout);
  pmix_pdata_t data;
  PMIX_PDATA_CONSTRUCT(&data);
  PMIX_LOAD_KEY(data.key, "never");
  pmix_info_t info;
  int all = 0;
  PMIX_INFO_LOAD(&info, PMIX_WAIT, &all, PMIX_INT);
  client::need("lookup at a keeper that is gone", PMIx_Lookup(&data, 1, &info, 1),
               PMIX_ERR_NOT_FOUND);
}

} // namespace

int main(int argc, char** argv) {
  const client::session s;
  if (argc > 1 && std::strcmp(argv[1], "alone") == 0) {
    s.fence();
    if (s.me.rank != 0)
      wait_for_nothing(s);
    s.end();
    return 0;
  }
  names(s);
  connections(s);
  s.fence();
  s.end();
}
