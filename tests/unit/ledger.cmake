# SPDX-License-Identifier: Apache-2.0
troupe_test(ledger_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/ledger_test.cpp
  LINK troupe_ledger)
