# SPDX-License-Identifier: Apache-2.0
# What bench/mpi needs beside what bench/run does; hello.openmpi is one of the tests' programs.
if(TARGET troupe-shepherd)
  add_executable(pmix_client ${CMAKE_CURRENT_LIST_DIR}/pmix_client.cpp)
  target_link_libraries(pmix_client PRIVATE troupe_options PkgConfig::PMIX)
endif()
