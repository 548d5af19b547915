# SPDX-License-Identifier: Apache-2.0
troupe_test(ledger_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/ledger_test.cpp
  LINK troupe_ledger)
troupe_test(ledger_care_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/ledger_care_test.cpp
  LINK troupe_ledger)
troupe_test(ledger_restore_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/ledger_restore_test.cpp
  LINK troupe_ledger)
target_compile_definitions(ledger_care_test PRIVATE
  TROUPE_GOLDEN_DIR="${CMAKE_CURRENT_SOURCE_DIR}/unit/golden")
