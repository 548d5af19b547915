# SPDX-License-Identifier: Apache-2.0
# A cluster under everything at once: storm/README.md.
add_executable(storm_task ${CMAKE_CURRENT_SOURCE_DIR}/fault/storm/task.cpp)
target_link_libraries(storm_task PRIVATE troupe_options)
target_link_options(storm_task PRIVATE -static)

set(storm_sources)
foreach(part storm work trouble judge books small_disk storm_test)
  list(APPEND storm_sources ${CMAKE_CURRENT_SOURCE_DIR}/fault/storm/${part}.cpp)
endforeach()
troupe_test(storm_test LABEL fault TIMEOUT 7200
  SOURCES ${storm_sources}
  LINK troupe_cluster_harness)
target_compile_definitions(storm_test PRIVATE TROUPE_STORM_TASK="$<TARGET_FILE:storm_task>")
add_dependencies(storm_test storm_task)
find_program(MPICC_OPENMPI mpicc.openmpi)
if(MPICC_OPENMPI AND TARGET troupe-shepherd)
  target_compile_definitions(storm_test PRIVATE
    TROUPE_MPI_PROGRAMS="${PROJECT_BINARY_DIR}/tests/mpi-programs")
  add_dependencies(storm_test mpi_spawn_openmpi mpi_ring_openmpi)
endif()
