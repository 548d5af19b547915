# SPDX-License-Identifier: Apache-2.0
troupe_test(ledger_kill_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/ledger_kill_test.cpp
  LINK troupe_ledger)
troupe_test(ledger_full_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/ledger_full_test.cpp
  LINK troupe_ledger)
troupe_test(ledger_sync_test LABEL fault
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/fault/ledger_sync_test.cpp
  LINK troupe_ledger)
