# SPDX-License-Identifier: Apache-2.0
troupe_test(troupe_command_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_values_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_options_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_text_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_state_test.cpp
  LINK troupe_command)

troupe_test(troupe_program_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_program_test.cpp
  LINK troupe_varlink troupe_auth troupe_messages)
target_compile_definitions(troupe_program_test PRIVATE TROUPE_PROGRAM="$<TARGET_FILE:troupe>")
add_dependencies(troupe_program_test troupe)

# The pages in docs/man are what the program says today.
add_test(NAME man_pages
  COMMAND ${PROJECT_SOURCE_DIR}/docs/man/write $<TARGET_FILE:troupe> ${PROJECT_SOURCE_DIR}/docs/man
          --check)
set_tests_properties(man_pages PROPERTIES LABELS unit TIMEOUT 60)
