// SPDX-License-Identifier: Apache-2.0
#include "pmix_client.hpp"

// Queries about the own job, words for its output and for the job's log, and job control.

namespace {

void log_line(const client::session& s, const char* channel, const std::string& words) {
  const auto text = "rank " + std::to_string(s.me.rank) + words + "\n";
  pmix_info_t info;
  PMIX_INFO_LOAD(&info, channel, text.c_str(), PMIX_STRING);
  client::need("log", PMIx_Log(&info, 1, nullptr, 0));
}

void ask(const client::session& s) {
  pmix_query_t query;
  PMIX_QUERY_CONSTRUCT(&query);
  pmix_status_t ignored = PMIX_SUCCESS;
  PMIX_ARGV_APPEND(ignored, query.keys, PMIX_QUERY_NAMESPACES);
  PMIX_ARGV_APPEND(ignored, query.keys, PMIX_QUERY_PROC_TABLE);
  client::need("the query", ignored);
  pmix_info_t* results = nullptr;
  std::size_t count = 0;
  client::need("query", PMIx_Query_info(&query, 1, &results, &count));
  for (std::size_t i = 0; i < count; ++i) {
    if (PMIX_CHECK_KEY(&results[i], PMIX_QUERY_NAMESPACES))
      std::printf("namespaces: %s\n", results[i].value.data.string);
    if (PMIX_CHECK_KEY(&results[i], PMIX_QUERY_PROC_TABLE))
      std::printf("processes: %zu\n", results[i].value.data.darray->size);
  }
  (void)s;
}

void control(const client::session& s) {
  pmix_info_t info;
  int signal = 12;
  PMIX_INFO_LOAD(&info, PMIX_JOB_CTRL_SIGNAL, &signal, PMIX_INT);
  pmix_info_t* results = nullptr;
  std::size_t count = 0;
  client::need("control", PMIx_Job_control(&s.all, 1, &info, 1, &results, &count));
}

} // namespace

int main() {
  const client::session s;
  std::printf("before\n");
  std::fflush(stdout);
  log_line(s, PMIX_LOG_STDOUT, " says");
  log_line(s, PMIX_LOG_STDERR, " complains");
  log_line(s, PMIX_LOG_SYSLOG, " logs");
  std::printf("after\n");
  if (s.me.rank == 0) {
    ask(s);
    control(s);
  }
  s.fence();
  s.end();
}
