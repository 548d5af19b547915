# SPDX-License-Identifier: Apache-2.0
# What bench/run needs to measure a whole cluster.
foreach(program sync_rate time_command)
  add_executable(${program} ${CMAKE_CURRENT_LIST_DIR}/${program}.cpp)
  target_link_libraries(${program} PRIVATE troupe_options)
endforeach()
add_executable(spawn_ceiling ${CMAKE_CURRENT_LIST_DIR}/spawn_ceiling.cpp)
target_link_libraries(spawn_ceiling PRIVATE troupe_options)
add_executable(submit_client ${CMAKE_CURRENT_LIST_DIR}/submit_client.cpp)
target_link_libraries(submit_client PRIVATE troupe_command)
add_executable(capability_check ${CMAKE_CURRENT_LIST_DIR}/capability_check.cpp)
target_link_libraries(capability_check PRIVATE troupe_auth)
