# SPDX-License-Identifier: Apache-2.0
troupe_test(plan_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/plan_test.cpp
  LINK troupe_plan)
troupe_test(plan_property_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/plan_property_test.cpp LINK troupe_plan)
troupe_test(plan_policy_test LABEL unit SOURCES
${CMAKE_CURRENT_SOURCE_DIR}/unit/plan_policy_test.cpp
  LINK troupe_plan)
troupe_test(plan_order_test LABEL unit SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/plan_order_test.cpp
  LINK troupe_plan)
