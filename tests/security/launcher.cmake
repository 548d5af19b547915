# SPDX-License-Identifier: Apache-2.0
# What the real troupe-launcher refuses, who it runs jobs as, and what it is made of.
troupe_test(launcher_refusals_test LABEL security
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/security/launcher_refusals_test.cpp
  LINK troupe_launcher_world)
troupe_test(launcher_cluster_test LABEL security
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/security/launcher_cluster_test.cpp
  LINK troupe_launcher_world)
troupe_test(launcher_binary_test LABEL security
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/security/launcher_binary_test.cpp
  LINK troupe_launcher_world)
