// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

// ends_badly HOW RANK: that rank aborts ("abort", code 42), exits without MPI_Finalize ("exit",
// code 5), or dies ("die", SIGSEGV); "ignore" waits for ever, deaf to SIGTERM. The others wait for
// it in a barrier.
int main(int argc, char** argv) {
  int rank;
  if (argc > 2 && strcmp(argv[1], "ignore") == 0)
    signal(SIGTERM, SIG_IGN);
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Barrier(MPI_COMM_WORLD);
  printf("rank %d is in\n", rank);
  fflush(stdout);
  if (argc > 2 && rank == argv[2][0] - '0') {
    if (strcmp(argv[1], "abort") == 0)
      MPI_Abort(MPI_COMM_WORLD, 42);
    if (strcmp(argv[1], "exit") == 0)
      _exit(5);
    if (strcmp(argv[1], "die") == 0)
      raise(SIGSEGV);
    for (;;)
      pause();
  }
  MPI_Barrier(MPI_COMM_WORLD);
  MPI_Finalize();
  return 0;
}
