# SPDX-License-Identifier: Apache-2.0
# The formats of runtime/launch and of auth that launcher and daemon share.
troupe_test(launch_formats_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/launch_formats_test.cpp
  LINK troupe_auth)
troupe_test(output_pump_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/output_pump_test.cpp
  LINK troupe_launch)
