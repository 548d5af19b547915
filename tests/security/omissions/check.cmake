# SPDX-License-Identifier: Apache-2.0
# Compiles one file without making anything of it. Its second line says what must come of that:
# "// Must compile…", or "// Must not compile: <a regular expression of the compiler's words>".
file(STRINGS ${SOURCE} lines LIMIT_COUNT 2)
list(GET lines 1 says)
execute_process(
  COMMAND ${COMPILER} -std=c++20 ${FLAGS} -fsyntax-only ${SOURCE}
  RESULT_VARIABLE code OUTPUT_VARIABLE out ERROR_VARIABLE err)
if(says MATCHES "^// Must not compile: (.+)$")
  set(expected "${CMAKE_MATCH_1}")
  if(code EQUAL 0)
    message(FATAL_ERROR "${SOURCE} compiles; it must fail with: ${expected}")
  endif()
  if(NOT err MATCHES "${expected}")
    message(FATAL_ERROR "${SOURCE} fails, but not with: ${expected}\n${err}")
  endif()
elseif(says MATCHES "^// Must compile")
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "${SOURCE} must compile:\n${err}")
  endif()
else()
  message(FATAL_ERROR "${SOURCE}: its second line says nothing of what must come of it")
endif()
