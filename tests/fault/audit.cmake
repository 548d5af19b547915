# SPDX-License-Identifier: Apache-2.0
troupe_test(audit_sync_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/audit_sync_test.cpp
  LINK troupe_auth)
