# SPDX-License-Identifier: Apache-2.0
# A real cluster, and peers at its socket that keep to nothing.
foreach(part session_refusals delegation key_rotation slow_reader hostile_input journal
    revocation)
  troupe_test(${part}_test LABEL security TIMEOUT 300
    SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/security/${part}_test.cpp
    LINK troupe_cluster_harness troupe_interfaces troupe_varlink troupe_auth)
endforeach()
