# SPDX-License-Identifier: Apache-2.0
# The rules of the tree: the program that checks them, run on this tree and on broken ones.
set(tidy_sources tidy/tree.cpp tidy/layers.cpp tidy/form.cpp tidy/documents.cpp)
list(TRANSFORM tidy_sources PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/)
add_library(troupe_tidy_rules STATIC ${tidy_sources})
target_link_libraries(troupe_tidy_rules PUBLIC troupe_options)

add_executable(tidy ${CMAKE_CURRENT_SOURCE_DIR}/tidy/main.cpp)
target_link_libraries(tidy PRIVATE troupe_tidy_rules)
add_test(NAME tidy COMMAND tidy ${PROJECT_SOURCE_DIR})
set_tests_properties(tidy PROPERTIES LABELS unit TIMEOUT 60)

troupe_test(tidy_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/tidy/tidy_test.cpp
  LINK troupe_tidy_rules)
