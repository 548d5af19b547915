# SPDX-License-Identifier: Apache-2.0
troupe_test(troupe_command_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_values_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_options_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_text_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/troupe_state_test.cpp
  LINK troupe_command)
