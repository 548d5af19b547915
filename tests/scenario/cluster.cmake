# SPDX-License-Identifier: Apache-2.0
# The real programs, as a user meets them. Nothing of them is linked.
add_library(troupe_cluster_harness STATIC ${CMAKE_CURRENT_SOURCE_DIR}/cluster_harness.cpp)
target_link_libraries(troupe_cluster_harness PUBLIC troupe_faults
  troupe_options troupe_catch nlohmann_json::nlohmann_json)
target_compile_definitions(troupe_cluster_harness PUBLIC
  TROUPE_PROGRAMS="${PROJECT_BINARY_DIR}/bin")
add_dependencies(troupe_cluster_harness trouped troupe troupe-launcher)

foreach(part backup run array steer look schedule lifecycle depend modify queues forecast resources
    steps input wait)
  troupe_test(cluster_${part}_test LABEL scenario
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/scenario/cluster_${part}_test.cpp
    LINK troupe_cluster_harness)
endforeach()
# It asks the real programs' own record of their files.
troupe_test(cluster_state_test LABEL scenario TIMEOUT 300
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/scenario/cluster_state_test.cpp
  LINK troupe_cluster_harness troupe_state)
