# SPDX-License-Identifier: Apache-2.0
# What a whole cluster survives. The harness is made in scenario/cluster.cmake.
foreach(part kill launcher patience storage down start clock nodes disk)
  troupe_test(cluster_${part}_test LABEL fault
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/cluster_${part}_test.cpp
    LINK troupe_cluster_harness)
endforeach()

# Failures of system calls, by strace.
troupe_test(inject_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/inject.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/fault/inject_test.cpp
  LINK troupe_cluster_harness)
