# SPDX-License-Identifier: Apache-2.0
# Faults for the real programs: shim/README.md.
add_library(troupe_fault SHARED ${CMAKE_CURRENT_SOURCE_DIR}/fault/shim/shim.c)
target_include_directories(troupe_fault PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_options(troupe_fault PRIVATE -O2 -Wall -Wextra -Wshadow -Werror
  -fno-builtin -U_FORTIFY_SOURCE -fno-sanitize=all)
target_link_libraries(troupe_fault PRIVATE ${CMAKE_DL_LIBS})

# The launcher's own sources, so linked that a library can be preloaded.
get_target_property(launcher_sources troupe-launcher SOURCES)
list(TRANSFORM launcher_sources PREPEND ${PROJECT_SOURCE_DIR}/tools/launcher/)
add_executable(troupe-launcher-dynamic ${launcher_sources})
foreach(property INCLUDE_DIRECTORIES COMPILE_DEFINITIONS COMPILE_OPTIONS LINKER_LANGUAGE)
  get_target_property(value troupe-launcher ${property})
  set_target_properties(troupe-launcher-dynamic PROPERTIES ${property} "${value}")
endforeach()
target_link_libraries(troupe-launcher-dynamic PRIVATE ${SODIUM_STATIC})

# Programs look for each other in their own folder: this one has all of them under their names.
set(fault_programs ${PROJECT_BINARY_DIR}/tests/faulty)
set(linked trouped troupe troupe-shepherd troupe-stub troupe-rsh)
set(links)
foreach(program ${linked})
  list(APPEND links COMMAND ${CMAKE_COMMAND} -E create_hardlink $<TARGET_FILE:${program}>
    ${fault_programs}/${program})
endforeach()
add_custom_command(OUTPUT ${fault_programs}/made
  COMMAND ${CMAKE_COMMAND} -E make_directory ${fault_programs}
  ${links}
  COMMAND ${CMAKE_COMMAND} -E create_hardlink $<TARGET_FILE:troupe-launcher-dynamic>
    ${fault_programs}/troupe-launcher
  COMMAND ${CMAKE_COMMAND} -E touch ${fault_programs}/made
  DEPENDS ${linked} troupe-launcher-dynamic
  COMMENT "Programs that a fault can be put into")
add_custom_target(troupe_fault_programs ALL DEPENDS ${fault_programs}/made troupe_fault)

add_library(troupe_faults STATIC ${CMAKE_CURRENT_SOURCE_DIR}/fault/shim/faults.cpp)
target_link_libraries(troupe_faults PUBLIC troupe_options)
target_compile_definitions(troupe_faults PRIVATE
  TROUPE_FAULT_SHIM="$<TARGET_FILE:troupe_fault>" TROUPE_FAULT_PROGRAMS="${fault_programs}")
add_dependencies(troupe_faults troupe_fault_programs)

troupe_test(fault_shim_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/fault_shim_test.cpp
  LINK troupe_cluster_harness)
