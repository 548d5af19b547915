# SPDX-License-Identifier: Apache-2.0
troupe_test(guard_matrix_test LABEL security
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/security/guard_matrix_test.cpp
  LINK troupe_auth troupe_messages troupe_caf)
target_include_directories(guard_matrix_test PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/unit)
target_compile_definitions(guard_matrix_test PRIVATE TROUPE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
