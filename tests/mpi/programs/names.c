// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>
#include <stdio.h>

// The first rank publishes a port, the last looks it up and connects. Prints "got 17" and "sent".
int main(int argc, char** argv) {
  int rank, size, value = 17;
  char port[MPI_MAX_PORT_NAME];
  MPI_Comm other;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (rank == 0) {
    MPI_Open_port(MPI_INFO_NULL, port);
    MPI_Publish_name("a service", MPI_INFO_NULL, port);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank == 0) {
    MPI_Comm_accept(port, MPI_INFO_NULL, 0, MPI_COMM_SELF, &other);
    MPI_Recv(&value, 1, MPI_INT, 0, 0, other, MPI_STATUS_IGNORE);
    printf("got %d\n", value);
    MPI_Comm_disconnect(&other);
    MPI_Unpublish_name("a service", MPI_INFO_NULL, port);
    MPI_Close_port(port);
  } else if (rank == size - 1) {
    MPI_Lookup_name("a service", MPI_INFO_NULL, port);
    MPI_Comm_connect(port, MPI_INFO_NULL, 0, MPI_COMM_SELF, &other);
    MPI_Send(&value, 1, MPI_INT, 0, 0, other);
    printf("sent\n");
    MPI_Comm_disconnect(&other);
  }
  MPI_Finalize();
  return 0;
}
