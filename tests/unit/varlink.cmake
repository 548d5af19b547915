# SPDX-License-Identifier: Apache-2.0
troupe_test(varlink_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/varlink_frames_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/varlink_interface_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/varlink_socket_test.cpp
  LINK troupe_varlink)
