# SPDX-License-Identifier: Apache-2.0
troupe_test(auth_test LABEL unit TIMEOUT 300
  SOURCES
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_audit_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_authority_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_capability_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_keys_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_orders_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_steps_test.cpp
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/auth_verifier_test.cpp
  LINK troupe_auth)
