# SPDX-License-Identifier: Apache-2.0
add_executable(plan_pass ${CMAKE_CURRENT_SOURCE_DIR}/plan_pass.cpp)
target_link_libraries(plan_pass PRIVATE troupe_plan)
add_executable(plan_large ${CMAKE_CURRENT_SOURCE_DIR}/plan_large.cpp)
target_link_libraries(plan_large PRIVATE troupe_plan)
