# SPDX-License-Identifier: Apache-2.0
add_executable(workload_log ${CMAKE_CURRENT_SOURCE_DIR}/workload_log.cpp)
target_link_libraries(workload_log PRIVATE troupe_options)
