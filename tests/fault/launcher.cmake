# SPDX-License-Identifier: Apache-2.0
# The real troupe-launcher, driven by the daemon's side of its protocol.
add_library(troupe_launcher_world STATIC ${CMAKE_CURRENT_SOURCE_DIR}/fault/launcher_world.cpp)
target_link_libraries(troupe_launcher_world PUBLIC troupe_options troupe_catch troupe_launch)
target_compile_definitions(troupe_launcher_world PUBLIC
  TROUPE_LAUNCHER="$<TARGET_FILE:troupe-launcher>")
add_dependencies(troupe_launcher_world troupe-launcher)

troupe_test(launcher_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/launcher_test.cpp
  LINK troupe_launcher_world)
troupe_test(launcher_shortage_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/launcher_shortage_test.cpp
  LINK troupe_launcher_world)
troupe_test(launcher_restart_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/launcher_restart_test.cpp
  LINK troupe_launcher_world)
