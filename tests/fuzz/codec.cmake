# SPDX-License-Identifier: Apache-2.0
# Each target runs a bounded number of random inputs as a test;
# with TROUPE_FUZZ (clang) it is a libFuzzer program too.
foreach(target cbor json)
  set(source ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/${target}_fuzz.cpp)
  add_executable(${target}_random_input ${source} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/random_input.cpp)
  target_link_libraries(${target}_random_input PRIVATE troupe_options troupe_codec)
  add_test(NAME ${target}_random_input COMMAND ${target}_random_input)
  set_tests_properties(${target}_random_input PROPERTIES LABELS fuzz TIMEOUT 120)
  if(TROUPE_FUZZ)
    add_executable(${target}_fuzz ${source})
    target_compile_options(${target}_fuzz PRIVATE -fsanitize=fuzzer)
    target_link_options(${target}_fuzz PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${target}_fuzz PRIVATE troupe_options troupe_codec)
  endif()
endforeach()
