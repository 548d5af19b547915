# SPDX-License-Identifier: Apache-2.0
troupe_test(codec_test LABEL unit
  SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/unit/cbor_test.cpp
          ${CMAKE_CURRENT_SOURCE_DIR}/unit/json_test.cpp
  LINK troupe_codec)
target_compile_definitions(codec_test PRIVATE
  TROUPE_GOLDEN_DIR="${CMAKE_CURRENT_SOURCE_DIR}/unit/golden")
