# SPDX-License-Identifier: Apache-2.0
troupe_test(interfaces_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/interfaces_test.cpp
  LINK troupe_interfaces troupe_varlink)
