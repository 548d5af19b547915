# SPDX-License-Identifier: Apache-2.0
add_executable(ledger_append ${CMAKE_CURRENT_SOURCE_DIR}/ledger_append.cpp)
target_link_libraries(ledger_append PRIVATE troupe_options troupe_ledger)
add_executable(ledger_history ${CMAKE_CURRENT_SOURCE_DIR}/ledger_history.cpp)
target_link_libraries(ledger_history PRIVATE troupe_options troupe_ledger troupe_messages)
