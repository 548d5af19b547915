# SPDX-License-Identifier: Apache-2.0
troupe_test(config_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/config_test.cpp
  LINK troupe_config troupe_plan)
target_compile_definitions(config_test PRIVATE TROUPE_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
