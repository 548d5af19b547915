# SPDX-License-Identifier: Apache-2.0
# Real shepherds, stubs and MPI programs. Left out where libpmix is missing; programs of an MPI
# whose compiler is missing are left out with their tests.
if(NOT TARGET troupe-shepherd)
  return()
endif()
set(mpi_folder ${CMAKE_CURRENT_SOURCE_DIR}/mpi)
set(mpi_programs ${PROJECT_BINARY_DIR}/tests/mpi-programs)

add_library(troupe_mpi_world STATIC ${mpi_folder}/mpi_world.cpp)
target_link_libraries(troupe_mpi_world PUBLIC troupe_options troupe_messages)
target_compile_definitions(troupe_mpi_world PRIVATE
  TROUPE_SHEPHERD="$<TARGET_FILE:troupe-shepherd>"
  TROUPE_STUB="$<TARGET_FILE:troupe-stub>"
  TROUPE_MPI_PROGRAMS="${mpi_programs}")
add_dependencies(troupe_mpi_world troupe-shepherd troupe-stub)

add_executable(mpi_run ${mpi_folder}/mpi_run.cpp)
target_link_libraries(mpi_run PRIVATE troupe_mpi_world)

# pmix_program(NAME): a bare PMIx client. A user's program: without our sanitizers, which would
# report what libpmix leaks.
function(pmix_program name)
  add_executable(${name} ${mpi_folder}/programs/${name}.cpp)
  target_link_libraries(${name} PRIVATE PkgConfig::PMIX)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wshadow -Werror)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${mpi_programs})
  add_dependencies(troupe_mpi_world ${name})
endfunction()

# mpi_program(COMPILER SUFFIX NAME): NAME.c as NAME.SUFFIX, by that MPI's compiler.
function(mpi_program compiler suffix name)
  set(output ${mpi_programs}/${name}.${suffix})
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -E make_directory ${mpi_programs}
    COMMAND ${compiler} -O1 -Wall -Wextra -o ${output} ${mpi_folder}/programs/${name}.c
    DEPENDS ${mpi_folder}/programs/${name}.c VERBATIM)
  add_custom_target(mpi_${name}_${suffix} DEPENDS ${output})
  add_dependencies(troupe_mpi_world mpi_${name}_${suffix})
endfunction()

foreach(name pmi1_talk pmix_asks pmix_ends pmix_events pmix_group pmix_hello pmix_init pmix_loop
    pmix_names pmix_places)
  pmix_program(${name})
endforeach()
pmix_program(bound)
target_link_libraries(bound PRIVATE PkgConfig::HWLOC)
add_library(claim_uid SHARED ${mpi_folder}/programs/claim_uid.cpp)
target_compile_options(claim_uid PRIVATE -Wall -Wextra -Werror)
add_dependencies(troupe_mpi_world claim_uid)

troupe_test(mpi_pmix_test LABEL mpi TIMEOUT 300
  SOURCES ${mpi_folder}/pmix_test.cpp LINK troupe_mpi_world)
troupe_test(mpi_faults_test LABEL mpi TIMEOUT 300
  SOURCES ${mpi_folder}/faults_test.cpp LINK troupe_mpi_world)
target_compile_definitions(mpi_faults_test PRIVATE
  TROUPE_SHEPHERD="$<TARGET_FILE:troupe-shepherd>" TROUPE_CLAIM_UID="$<TARGET_FILE:claim_uid>")
troupe_test(mpi_mpich_test LABEL mpi TIMEOUT 300
  SOURCES ${mpi_folder}/mpich_test.cpp LINK troupe_mpi_world)

troupe_test(mpi_parts_test LABEL mpi
  SOURCES ${mpi_folder}/parts_test.cpp LINK troupe_shepherd_parts)
troupe_test(mpi_growth_test LABEL mpi TIMEOUT 600
  SOURCES ${mpi_folder}/growth_test.cpp LINK troupe_mpi_world)

find_program(MPICC_OPENMPI mpicc.openmpi)
find_program(MPICC_MPICH mpicc.mpich)
if(MPICC_OPENMPI)
  foreach(name ends_badly hello names ring spawn spawn_several waits)
    mpi_program(${MPICC_OPENMPI} openmpi ${name})
  endforeach()
  troupe_test(mpi_openmpi_test LABEL mpi TIMEOUT 300
    SOURCES ${mpi_folder}/openmpi_test.cpp LINK troupe_mpi_world)
  target_compile_definitions(mpi_growth_test PRIVATE TROUPE_HAS_OPENMPI)
endif()
if(MPICC_MPICH)
  foreach(name ends_badly hello ring)
    mpi_program(${MPICC_MPICH} mpich ${name})
  endforeach()
  target_compile_definitions(mpi_mpich_test PRIVATE TROUPE_HAS_MPICH)
endif()
if(MPICC_OPENMPI AND MPICC_MPICH)
  troupe_test(mpi_cluster_test LABEL mpi TIMEOUT 300
    SOURCES ${mpi_folder}/cluster_mpi_test.cpp LINK troupe_cluster_harness)
  troupe_test(mpi_steps_test LABEL mpi TIMEOUT 300
    SOURCES ${mpi_folder}/cluster_steps_test.cpp LINK troupe_cluster_harness)
  troupe_test(mpi_cluster_growth_test LABEL mpi TIMEOUT 600
    SOURCES ${mpi_folder}/cluster_growth_test.cpp LINK troupe_cluster_harness)
  troupe_test(mpi_mapping_test LABEL mpi TIMEOUT 300
    SOURCES ${mpi_folder}/cluster_mapping_test.cpp LINK troupe_cluster_harness)
  troupe_test(mpi_mpirun_test LABEL mpi TIMEOUT 300
    SOURCES ${mpi_folder}/cluster_mpirun_test.cpp LINK troupe_cluster_harness)
  foreach(name mpi_cluster_test mpi_steps_test mpi_cluster_growth_test mpi_mapping_test
      mpi_mpirun_test)
    target_compile_definitions(${name} PRIVATE TROUPE_MPI_PROGRAMS="${mpi_programs}")
    add_dependencies(${name} troupe_mpi_world)
  endforeach()
endif()
# Whole applications, where they are installed, against mpirun.
find_program(HPCC hpcc)
find_program(LAMMPS lmp)
find_program(MPIRUN_OPENMPI mpirun.openmpi)
if(HPCC AND LAMMPS AND MPIRUN_OPENMPI)
  troupe_test(mpi_applications_test LABEL mpi TIMEOUT 900
    SOURCES ${mpi_folder}/applications_test.cpp LINK troupe_cluster_harness)
endif()
