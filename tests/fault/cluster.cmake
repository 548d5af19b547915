# SPDX-License-Identifier: Apache-2.0
# What a whole cluster survives. The harness is made in scenario/cluster.cmake.
foreach(part kill launcher storage)
  troupe_test(cluster_${part}_test LABEL fault
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/cluster_${part}_test.cpp
    LINK troupe_cluster_harness)
endforeach()
