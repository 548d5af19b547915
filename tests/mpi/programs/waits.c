// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// Says that all ranks are there, waits until a file is, then meets again over a new communicator.
// With "deaf" as well it takes no notice of SIGTERM; with "spawns" it starts another one first,
// which waits, too.
int main(int argc, char** argv) {
  int rank, size, there = 0, sum = 0;
  MPI_Comm again, others;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (argc > 2 && strcmp(argv[2], "deaf") == 0)
    signal(SIGTERM, SIG_IGN);
  if (argc > 2 && strcmp(argv[2], "spawns") == 0) {
    char* arguments[] = {argv[1], NULL};
    MPI_Comm_spawn(argv[0], arguments, 1, MPI_INFO_NULL, 0, MPI_COMM_WORLD, &others,
                   MPI_ERRCODES_IGNORE);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  printf("rank %d of %d waits\n", rank, size);
  fflush(stdout);
  while (!there) {
    if (rank == 0)
      there = argc > 1 && access(argv[1], F_OK) == 0;
    MPI_Bcast(&there, 1, MPI_INT, 0, MPI_COMM_WORLD);
    poll(NULL, 0, 5);
  }
  MPI_Comm_dup(MPI_COMM_WORLD, &again);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, again);
  printf("rank %d of %d, sum %d\n", rank, size, sum);
  MPI_Comm_free(&again);
  MPI_Finalize();
  return sum == size * (size - 1) / 2 ? 0 : 1;
}
