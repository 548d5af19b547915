# SPDX-License-Identifier: Apache-2.0
# The reader of workload logs: a bounded number of random inputs as a test, with TROUPE_FUZZ (clang)
# a libFuzzer program too.
add_executable(swf_random_input ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/swf_fuzz.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/swf_random_input.cpp)
target_link_libraries(swf_random_input PRIVATE troupe_sim)
add_test(NAME swf_random_input COMMAND swf_random_input)
set_tests_properties(swf_random_input PROPERTIES LABELS fuzz TIMEOUT 120)
if(TROUPE_FUZZ)
  add_executable(swf_fuzz ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/swf_fuzz.cpp)
  target_compile_options(swf_fuzz PRIVATE -fsanitize=fuzzer)
  target_link_options(swf_fuzz PRIVATE -fsanitize=fuzzer)
  target_link_libraries(swf_fuzz PRIVATE troupe_sim)
endif()
