// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/pmix/job.hpp"
#include "runtime/pmix/upcalls.hpp"

namespace troupe::pmix {

struct server_place {
  std::string nspace; ///< the server's own; differs from every step's
  std::uint32_t node_index = 0;
  std::string node_name;
  std::string directory; ///< for the files it makes
};

/// The library's server. One per process, and once: after its end there is none again. Nothing here
/// waits for the library's thread but the destructor.
class server {
public:
  static expected<std::unique_ptr<server>> start(const server_place& place, upcall_queue& queue);
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  ~server();

  /// Makes the step and its ranks of this node known; `taken_note{token}` follows.
  expected<void> add_step(const shepherd::register_step& step, const job_places& places,
                          std::uint64_t token);
  void remove_step(const std::string& nspace);

  /// What a rank needs in its environment to find this server, as "K=V"; after `taken_note`.
  expected<std::vector<std::string>> environment_of(const process& rank);

  /// Tells the local ranks of an event.
  void notify(const event& what);

  /// Asks for all that a local rank has put, waiting until it has; `modex_data{token}` follows.
  void request_modex(const process& rank, std::uint64_t token);

private:
  explicit server(upcall_queue& queue) : queue_{queue} {}
  upcall_queue& queue_;
};

/// "PMIX_ERR_NOT_FOUND" and the like, for sentences.
std::string status_text(pmix_status_t status);

} // namespace troupe::pmix
