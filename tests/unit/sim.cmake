# SPDX-License-Identifier: Apache-2.0
troupe_test(pool_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/pool_test.cpp
  LINK troupe_plan)
troupe_test(pool_property_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/pool_property_test.cpp LINK troupe_sim)
troupe_test(sim_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/sim_test.cpp
  LINK troupe_sim)
troupe_test(sim_traces_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/sim_traces_test.cpp
  LINK troupe_sim)
target_compile_definitions(sim_traces_test PRIVATE
  TROUPE_TRACES="${CMAKE_CURRENT_SOURCE_DIR}/traces")

troupe_test(sim_program_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/sim_program_test.cpp
  LINK nlohmann_json::nlohmann_json)
target_compile_definitions(sim_program_test PRIVATE TROUPE_PROGRAM="$<TARGET_FILE:troupe>")
add_dependencies(sim_program_test troupe)
