# SPDX-License-Identifier: Apache-2.0
# Each decoder of auth: a bounded number of random inputs as a test; with TROUPE_FUZZ (clang) a
# libFuzzer program too.
add_library(auth_random_input OBJECT ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/auth_random_input.cpp)
target_link_libraries(auth_random_input PRIVATE troupe_auth)
foreach(decoder capability job_request warrant keyring seal order exec_spec audit_line)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/auth_fuzz.cpp)
  add_executable(auth_${decoder}_random_input ${source} $<TARGET_OBJECTS:auth_random_input>)
  target_compile_definitions(auth_${decoder}_random_input PRIVATE
    TROUPE_FUZZ_INPUT=${decoder}_input)
  target_link_libraries(auth_${decoder}_random_input PRIVATE troupe_auth)
  add_test(NAME auth_${decoder}_random_input COMMAND auth_${decoder}_random_input)
  set_tests_properties(auth_${decoder}_random_input PROPERTIES LABELS fuzz TIMEOUT 120)
  if(TROUPE_FUZZ)
    add_executable(auth_${decoder}_fuzz ${source})
    target_compile_definitions(auth_${decoder}_fuzz PRIVATE TROUPE_FUZZ_INPUT=${decoder}_input)
    target_compile_options(auth_${decoder}_fuzz PRIVATE -fsanitize=fuzzer)
    target_link_options(auth_${decoder}_fuzz PRIVATE -fsanitize=fuzzer)
    target_link_libraries(auth_${decoder}_fuzz PRIVATE troupe_auth)
  endif()
endforeach()
