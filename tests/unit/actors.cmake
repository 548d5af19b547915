# SPDX-License-Identifier: Apache-2.0
# The controller's actors in one thread and in virtual time, with a scripted launcher.
add_library(troupe_actor_world STATIC
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/actor_world.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/actor_world_stories.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/random_history.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/unit/scripted_launcher.cpp)
target_link_libraries(troupe_actor_world PUBLIC troupe_catch troupe_actors)
target_include_directories(troupe_actor_world PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/unit)

troupe_test(step_places_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/step_places_test.cpp
  LINK troupe_actors)

troupe_test(scheduler_parts_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/scheduler_parts_test.cpp
  LINK troupe_actors)

foreach(part scheduler planner workload retry policy durability restart guard streams stop clock
    nodes history)
  troupe_test(actors_${part}_test LABEL unit TIMEOUT 300
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/actors_${part}_test.cpp
    LINK troupe_actor_world)
endforeach()

troupe_test(recovery_fuzz_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/recovery_fuzz_test.cpp
  LINK troupe_actor_world)
