// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Spawns two programs at once, one rank of itself as "one" and two as "two", merges with them and
// sums over all. Children print "NAME R of N, program P: sum S of ALL".
static void report(const char* name, MPI_Comm others, int is_child) {
  int rank, size, all_rank, all_size, sum = 0, *number = NULL, there = 0;
  MPI_Comm all;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Intercomm_merge(others, is_child, &all);
  MPI_Comm_rank(all, &all_rank);
  MPI_Comm_size(all, &all_size);
  MPI_Allreduce(&all_rank, &sum, 1, MPI_INT, MPI_SUM, all);
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_APPNUM, &number, &there);
  printf("%s %d of %d, program %d: sum %d of %d\n", name, rank, size, there ? *number : -1, sum,
         all_size);
  MPI_Comm_free(&all);
}

int main(int argc, char** argv) {
  MPI_Comm parent;
  MPI_Init(&argc, &argv);
  MPI_Comm_get_parent(&parent);
  if (parent != MPI_COMM_NULL) {
    report(argc > 1 ? argv[1] : "nobody", parent, 1);
    MPI_Comm_disconnect(&parent);
  } else {
    char* commands[] = {argv[0], argv[0]};
    char* one[] = {"one", NULL};
    char* two[] = {"two", NULL};
    char** arguments[] = {one, two};
    const int counts[] = {1, 2};
    MPI_Info infos[] = {MPI_INFO_NULL, MPI_INFO_NULL};
    int errors[3];
    MPI_Comm others;
    if (MPI_Comm_spawn_multiple(2, commands, arguments, counts, infos, 0, MPI_COMM_WORLD, &others,
                                errors) != MPI_SUCCESS)
      return 1;
    report("parent", others, 0);
    MPI_Comm_disconnect(&others);
  }
  MPI_Finalize();
  return 0;
}
