# SPDX-License-Identifier: Apache-2.0
troupe_test(topology_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/topology_test.cpp
  LINK troupe_topology PkgConfig::HWLOC)
