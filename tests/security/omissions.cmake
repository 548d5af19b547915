# SPDX-License-Identifier: Apache-2.0
# What must not compile: an actor's message, handler or interface that leaves the guard out, and a
# capability that the verifier has not made. control.cpp must compile, so that the others fail for
# what they leave out alone.
set(omission_flags -I${PROJECT_SOURCE_DIR} -DCAF_ENABLE_TYPE_ID_CHECKS)
foreach(directory ${SODIUM_INCLUDE_DIRS} ${CAF_INCLUDE_DIR})
  if(NOT directory STREQUAL "/usr/include")
    list(APPEND omission_flags -isystem ${directory})
  endif()
endforeach()
file(GLOB omissions CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/security/omissions/*.cpp)
foreach(source ${omissions})
  get_filename_component(omission ${source} NAME_WE)
  add_test(NAME omission_${omission}
    COMMAND ${CMAKE_COMMAND} -DCOMPILER=${CMAKE_CXX_COMPILER} "-DFLAGS=${omission_flags}"
      -DSOURCE=${source} -P ${CMAKE_CURRENT_SOURCE_DIR}/security/omissions/check.cmake)
  set_tests_properties(omission_${omission} PROPERTIES LABELS security TIMEOUT 300)
endforeach()
