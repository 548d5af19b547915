// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <hwloc.h>

// Prints "rank R on NODE: LIST", the processing units that it is bound to, as hwloc sees it.
int main() {
  hwloc_topology_t topology;
  hwloc_topology_init(&topology);
  hwloc_topology_load(topology);
  hwloc_bitmap_t set = hwloc_bitmap_alloc();
  char list[4096];
  if (hwloc_get_cpubind(topology, set, HWLOC_CPUBIND_PROCESS) != 0)
    return 1;
  hwloc_bitmap_list_snprintf(list, sizeof list, set);
  std::printf("rank %s on %s: %s\n", std::getenv("TROUPE_RANK"), std::getenv("TROUPE_NODE"), list);
  hwloc_bitmap_free(set);
  hwloc_topology_destroy(topology);
}
