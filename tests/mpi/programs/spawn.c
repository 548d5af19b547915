// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <stdio.h>
#include <string.h>

// Spawns two more of itself, merges with them and sums over all. Prints "parent R: sum S of N" and
// "child R: …".
int main(int argc, char** argv) {
  int rank, all_rank, all_size, sum = 0;
  MPI_Comm parent, others, all;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_get_parent(&parent);
  const int is_child = parent != MPI_COMM_NULL;
  if (is_child) {
    others = parent;
  } else {
    char* arguments[] = {"an argument", NULL};
    int errors[2];
    if (MPI_Comm_spawn(argv[0], arguments, 2, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &others, errors) !=
        MPI_SUCCESS)
      return 1;
  }
  MPI_Intercomm_merge(others, is_child, &all);
  MPI_Comm_rank(all, &all_rank);
  MPI_Comm_size(all, &all_size);
  MPI_Allreduce(&all_rank, &sum, 1, MPI_INT, MPI_SUM, all);
  printf("%s %d: sum %d of %d%s\n", is_child ? "child" : "parent", rank, sum, all_size,
         is_child && (argc != 2 || strcmp(argv[1], "an argument") != 0) ? ", wrong arguments" : "");
  MPI_Comm_free(&all);
  MPI_Comm_disconnect(&others);
  MPI_Finalize();
  return 0;
}
