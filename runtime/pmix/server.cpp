// SPDX-License-Identifier: Apache-2.0
#include "runtime/pmix/server.hpp"

#include "runtime/pmix/convert.hpp"

#include <unistd.h>

namespace troupe::pmix {

namespace {

/// What a callback needs to say in the queue that its request is done.
struct note {
  upcall_queue* queue;
  std::uint64_t token;
};

void post_note(pmix_status_t status, void* data) {
  const std::unique_ptr<note> owned{static_cast<note*>(data)};
  owned->queue->post(taken_note{owned->token, status});
}

void post_modex(pmix_status_t status, char* data, std::size_t bytes, void* context) {
  const std::unique_ptr<note> owned{static_cast<note*>(context)};
  const auto* from = reinterpret_cast<const std::uint8_t*>(data);
  owned->queue->post(modex_data{owned->token, status,
                                from == nullptr ? byte_vector{} : byte_vector{from, from + bytes}});
}

void nothing(pmix_status_t, void*) {}

/// Gives an array to the library's thread, which may still read it when the call has returned.
struct held_infos {
  info_list infos;
};

void drop_infos(pmix_status_t, void* data) {
  delete static_cast<held_infos*>(data);
}

/// A registration in progress: the array must live until the library has read it.
struct held_step {
  info_list infos;
};

void drop_step(pmix_status_t, void* data) {
  delete static_cast<held_step*>(data);
}

tl::unexpected<error> refused(const std::string& what, pmix_status_t status) {
  return fail(errc::internal, what + " failed in the PMIx library: " + status_text(status));
}

} // namespace

std::string status_text(pmix_status_t status) {
  const char* name = PMIx_Error_string(status);
  return name == nullptr ? std::to_string(status) : name;
}

expected<std::unique_ptr<server>> server::start(const server_place& place, upcall_queue& queue) {
  // The store of shared memory (ds21, ds12) hangs when clients die while they start, and costs a
  // hundred times more for each step.
  ::setenv("PMIX_MCA_gds", "hash", 0);
  // Reading the topology must not connect to displays or look for accelerators' run times.
  ::setenv("HWLOC_PLUGINS_BLACKLIST", "hwloc_gl.so,hwloc_opencl.so", 0);
  info_list infos;
  // Each rank of Open MPI would otherwise read it for itself: two thousand system calls.
  infos.flag(PMIX_SERVER_SHARE_TOPOLOGY, true);
  infos.text(PMIX_SERVER_NSPACE, place.nspace);
  infos.rank(PMIX_SERVER_RANK, place.node_index);
  infos.text(PMIX_SERVER_TMPDIR, place.directory);
  infos.text(PMIX_SYSTEM_TMPDIR, place.directory);
  infos.text(PMIX_HOSTNAME, place.node_name);
  infos.number(PMIX_NODEID, place.node_index);
  auto module = make_module(queue);
  const auto status = PMIx_server_init(&module, infos.data(), infos.size());
  if (status != PMIX_SUCCESS)
    return refused("starting the PMIx server of node " + place.node_name, status);
  return std::unique_ptr<server>{new server{queue}};
}

server::~server() {
  (void)PMIx_server_finalize();
}

expected<void> server::add_step(const shepherd::register_step& step, const job_places& places,
                                std::uint64_t token) {
  auto* held = new held_step{job_infos(step, places)};
  const auto& node = step.nodes[step.node_index];
  // All of these go to the library's thread and are done there in this order.
  auto status =
      PMIx_server_register_nspace(step.nspace.c_str(), static_cast<int>(node.rank_count),
                                  held->infos.data(), held->infos.size(), drop_step, held);
  if (status != PMIX_SUCCESS) {
    delete held;
    return refused("registering " + step.nspace, status);
  }
  for (std::uint32_t i = 0; i < node.rank_count; ++i) {
    const c_process rank{{step.nspace, rank_at(node, i)}};
    const bool last = i + 1 == node.rank_count;
    status = PMIx_server_register_client(rank.get(), ::geteuid(), ::getegid(), nullptr,
                                         last ? post_note : nothing,
                                         last ? new note{&queue_, token} : nullptr);
    if (status != PMIX_SUCCESS)
      return refused("registering rank " + std::to_string(rank.get()->rank) + " of " + step.nspace,
                     status);
  }
  if (node.rank_count == 0)
    queue_.post(taken_note{token, PMIX_SUCCESS});
  return {};
}

void server::remove_step(const std::string& nspace) {
  const c_process name{{nspace, 0}};
  PMIx_server_deregister_nspace(name.get()->nspace, nothing, nullptr);
}

expected<std::vector<std::string>> server::environment_of(const process& rank) {
  const c_process c{rank};
  char** env = nullptr;
  const auto status = PMIx_server_setup_fork(c.get(), &env);
  auto texts = to_texts(env);
  for (char** at = env; at != nullptr && *at != nullptr; ++at)
    std::free(*at);
  std::free(env);
  if (status != PMIX_SUCCESS)
    return refused("preparing rank " + std::to_string(rank.rank) + " of " + rank.nspace, status);
  return texts;
}

void server::notify(const event& what) {
  auto* held = new held_infos{unpack_infos(what.infos)};
  const c_process source{what.source};
  const auto status =
      PMIx_Notify_event(what.code, source.get(), static_cast<pmix_data_range_t>(what.range),
                        held->infos.data(), held->infos.size(), drop_infos, held);
  if (status != PMIX_SUCCESS)
    delete held;
}

void server::request_modex(const process& rank, std::uint64_t token) {
  const c_process c{rank};
  auto* context = new note{&queue_, token};
  const auto status = PMIx_server_dmodex_request(c.get(), post_modex, context);
  if (status != PMIX_SUCCESS)
    post_modex(status, nullptr, 0, context);
}

} // namespace troupe::pmix
