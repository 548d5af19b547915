# SPDX-License-Identifier: Apache-2.0
# Shell functions of ./quickstart and ./check. Sourced, from the top folder of the tree.

# How many compilers run at once: one per core, and one per 1.5 GiB of memory (CAF's typed
# interfaces take up to 0.5 GB a file, sanitizers and two links beside it more).
build_jobs() {
  local cores gigabytes by_memory
  cores=$(nproc)
  gigabytes=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  by_memory=$((gigabytes * 2 / 3))
  [ "$by_memory" -ge 1 ] || by_memory=1
  echo $((cores < by_memory ? cores : by_memory))
}

# What everybody builds: optimised, with line tables for backtraces. Full debug information of CAF's
# interfaces makes a build half as long again and the programs five times larger.
build_flags=(-DCMAKE_BUILD_TYPE=RelWithDebInfo
  "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O2 -g1 -DNDEBUG"
  "-DCMAKE_C_FLAGS_RELWITHDEBINFO=-O2 -g1 -DNDEBUG")

# configure DIR [cmake options]: says nothing unless it fails.
configure() {
  local dir=$1 log
  shift
  mkdir -p "$dir"
  log=$dir/configure.log
  # A build directory of a tree that has since been moved or copied is of no use.
  if [ -f "$dir/CMakeCache.txt" ] &&
    ! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "$dir/CMakeCache.txt"; then
    rm -rf "${dir:?}"/CMakeCache.txt "${dir:?}"/CMakeFiles
  fi
  if ! cmake -S . -B "$dir" -G Ninja "$@" >"$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "configuring failed; all of cmake's output is in $log" >&2
    return 1
  fi
}

# Passes on one line of ninja's progress every ten seconds.
progress() {
  local line last=0
  while IFS= read -r line; do
    if [[ $line =~ ^\[[0-9]+/[0-9]+\] ]] && [ $((SECONDS - last)) -ge 10 ]; then
      echo "   ${line%%]*}]"
      last=$SECONDS
    fi
  done
}

build_seconds_max=3600

# build DIR [targets]: progress, and the compiler's words only on failure.
build() {
  local dir=$1 status=0
  shift
  set +o pipefail
  NINJA_STATUS='[%f/%t] ' timeout --kill-after=10 "$build_seconds_max" \
    ninja -C "$dir" -j "$(build_jobs)" "$@" 2>&1 |
    tee "$dir/build.log" | progress
  status=${PIPESTATUS[0]}
  set -o pipefail
  if [ "$status" != 0 ]; then
    grep -v '^\[' "$dir/build.log" | tail -n 60 >&2
    echo "building failed; all of ninja's output is in $dir/build.log" >&2
  fi
  return "$status"
}
