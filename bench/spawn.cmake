# SPDX-License-Identifier: Apache-2.0
# A static program without libc: what it costs to run is what starting anything costs.
add_executable(static_true ${CMAKE_CURRENT_LIST_DIR}/static_true.c)
target_compile_options(static_true PRIVATE -Os -ffreestanding -fno-stack-protector -fno-pie
  -fno-asynchronous-unwind-tables -U_FORTIFY_SOURCE)
target_link_options(static_true PRIVATE -static -nostdlib -no-pie -Wl,--build-id=none
  -Wl,-z,norelro -Wl,-z,noseparate-code -s)
