// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

// Sends messages of rising size round the ring of all ranks, then sums. Prints "rank R: good".
int main(int argc, char** argv) {
  int rank, size;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  for (int count = 1; count <= 1 << 18; count *= 8) {
    int* out = malloc(count * sizeof(int));
    int* in = malloc(count * sizeof(int));
    for (int i = 0; i < count; ++i)
      out[i] = rank + i;
    MPI_Sendrecv(out, count, MPI_INT, (rank + 1) % size, 0, in, count, MPI_INT,
                 (rank + size - 1) % size, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int i = 0; i < count; ++i)
      if (in[i] != (rank + size - 1) % size + i) {
        printf("rank %d: wrong at %d of %d\n", rank, i, count);
        MPI_Abort(MPI_COMM_WORLD, 3);
      }
    free(in);
    free(out);
  }
  int sum = 0;
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  printf("rank %d: %s\n", rank, sum == size * (size - 1) / 2 ? "good" : "wrong sum");
  MPI_Finalize();
  return 0;
}
