# SPDX-License-Identifier: Apache-2.0
if(TROUPE_FUZZ)
  add_executable(varlink_fuzz ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/varlink_fuzz.cpp)
  target_link_libraries(varlink_fuzz PRIVATE troupe_options troupe_varlink)
  target_compile_options(varlink_fuzz PRIVATE -fsanitize=fuzzer)
  target_link_options(varlink_fuzz PRIVATE -fsanitize=fuzzer)
endif()
