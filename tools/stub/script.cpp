// SPDX-License-Identifier: Apache-2.0
#include "tools/stub/script.hpp"

#include "tools/stub/nodes.hpp"

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

// What `mpirun` finds in a script: which nodes it may use, and how to start its daemons there. The
// lists of nodes are sealed files in memory that the script's own process holds open, so nothing is
// left behind, however it ends. What the user has set stays as it is.

namespace troupe::stub {

namespace {

constexpr int list_fd_wanted = 900; ///< out of the way of what scripts open by number
constexpr int list_fd_lowest = 100;

/// Writes one line per node and seals it; -1 where that is not possible.
int make_list(const char* name, const char* line_format) {
  const int fd = ::memfd_create(name, MFD_ALLOW_SEALING | MFD_CLOEXEC);
  if (fd < 0)
    return -1;
  bool good = true;
  node_reader nodes{std::getenv("TROUPE_NODELIST"), std::getenv("TROUPE_TASKS_PER_NODE")};
  while (good && nodes.next())
    if (nodes.tasks > 0)
      good = ::dprintf(fd, line_format, static_cast<int>(nodes.name_bytes), nodes.name,
                       nodes.tasks) > 0;
  good = good &&
         ::fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) == 0;
  int kept = good ? ::fcntl(fd, F_DUPFD, list_fd_wanted) : -1;
  if (good && kept < 0)
    kept = ::fcntl(fd, F_DUPFD, list_fd_lowest);
  ::close(fd);
  return kept;
}

void set(const char* name, const char* value) {
  (void)::setenv(name, value, 0); // the user's own setting comes first
}

/// By the script's own process: whoever it starts may have closed what it inherited.
void set_list(const char* name, int fd) {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fd/%d", static_cast<int>(::getpid()), fd);
  set(name, path);
}

/// The program beside this one that starts a command on another node of the job.
bool find_agent(char (&path)[PATH_MAX]) {
  const auto length = ::readlink("/proc/self/exe", path, sizeof path - 1);
  if (length <= 0)
    return false;
  path[length] = '\0';
  char* slash = std::strrchr(path, '/');
  constexpr char name[] = "troupe-rsh";
  if (slash == nullptr || static_cast<std::size_t>(path + sizeof path - slash) <= sizeof name + 1)
    return false;
  std::memcpy(slash + 1, name, sizeof name);
  return true;
}

void set_up_mpirun() {
  char agent[PATH_MAX];
  const int open_mpi = make_list("troupe-hosts", "%.*s slots=%u\n");
  const int hydra = make_list("troupe-machines", "%.*s:%u\n");
  if (open_mpi < 0 || hydra < 0 || !find_agent(agent))
    return;
  // Open MPI 4. Its ranks take over what their daemon is bound to: the job's cores of that node.
  set_list("OMPI_MCA_orte_default_hostfile", open_mpi);
  set("OMPI_MCA_plm_rsh_agent", agent);
  set("OMPI_MCA_hwloc_base_binding_policy", "none");
  // PRRTE, and so Open MPI 5.
  set_list("PRTE_MCA_prte_default_hostfile", open_mpi);
  set("PRTE_MCA_plm_ssh_agent", agent);
  set("PRTE_MCA_hwloc_default_binding_policy", "none");
  // Hydra, which is MPICH's.
  set_list("HYDRA_HOST_FILE", hydra);
  set("HYDRA_LAUNCHER", "ssh");
  set("HYDRA_LAUNCHER_EXEC", agent);
}

} // namespace

int run_script(char** argv) {
  set_up_mpirun();
  ::execvp(argv[0], argv);
  std::fprintf(stderr, "troupe-stub: %s: %s\n", argv[0], std::strerror(errno));
  return 127;
}

} // namespace troupe::stub
