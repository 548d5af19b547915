# SPDX-License-Identifier: Apache-2.0
# The launcher's parsers, as its sources are: a bounded number of random inputs as a test, with
# TROUPE_FUZZ (clang) a libFuzzer program too. Built here with the sanitizers that the launcher
# itself, which links no run time but libc's, is built without.
file(GLOB launcher_parts ${PROJECT_SOURCE_DIR}/tools/launcher/*.cpp)
list(FILTER launcher_parts EXCLUDE REGEX "/main\\.cpp$")
add_library(troupe_launcher_parts STATIC ${launcher_parts})
target_compile_definitions(troupe_launcher_parts PUBLIC _GNU_SOURCE)
target_link_libraries(troupe_launcher_parts PUBLIC troupe_options PkgConfig::SODIUM)

add_executable(launch_random_input ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/launch_fuzz.cpp
  ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/launch_random_input.cpp)
target_link_libraries(launch_random_input PRIVATE troupe_launcher_parts troupe_auth)
add_test(NAME launch_random_input COMMAND launch_random_input)
set_tests_properties(launch_random_input PROPERTIES LABELS fuzz TIMEOUT 120)
if(TROUPE_FUZZ)
  add_executable(launch_fuzz ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/launch_fuzz.cpp)
  target_compile_options(launch_fuzz PRIVATE -fsanitize=fuzzer)
  target_link_options(launch_fuzz PRIVATE -fsanitize=fuzzer)
  target_link_libraries(launch_fuzz PRIVATE troupe_launcher_parts)
endif()
