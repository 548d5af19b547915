#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The one list of Debian packages Troupe needs, each with its reason, and how to install them.
# Debian 12, 13 and testing name a few packages differently: alternatives are written a|b and the
# first one that apt knows is taken; nothing here looks at a release's name.
#
#   scripts/packages.sh list [build|check]      what the set needs, one package a line
#   scripts/packages.sh missing [build|check]   the part of it that is not installed
#   scripts/packages.sh install [build|check]   installs that part; needs root or sudo
#   scripts/packages.sh explain                 the table below, for people
set -euo pipefail

# set | package, or alternatives | reason
table='
build | g++                          | the compiler: C++20
build | libc6-dev                    | C library headers, and libc.a for the static launcher
build | cmake                        | configures the build
build | ninja-build                  | runs the build
build | pkgconf|pkg-config           | finds libsodium, SQLite and hwloc
build | libcaf-dev                   | CAF 0.17: the actor system inside a process
build | libexpected-dev              | tl::expected: results without exceptions
build | libcbor-dev                  | reads CBOR with bounds, in links and the ledger
build | libfmt-dev                   | text formatting
build | libspdlog-dev                | the log
build | nlohmann-json3-dev           | JSON of Varlink and --json
build | libsqlite3-dev               | the ledger and the audit log
build | libsodium-dev                | signatures and hashes; libsodium.a for the static launcher
build | libhwloc-dev                 | cores, caches, sockets: where ranks are bound
build | zlib1g-dev                   | gzip: workload logs as their archive keeps them
build | libcli11-dev                 | command line parsing
build | libtomlplusplus-dev          | reads troupe.toml
build | libedit-dev                  | the line editor of `troupe console`
build | libpmix-dev                  | the PMIx server that MPI jobs start through
build | openmpi-bin                  | run time and
build | libopenmpi-dev               | compiler of the MPI programs of quickstart and tests
build | catch2                       | the tests
check | git                          | names the changed files
check | strace                       | fails system calls on purpose, one by one
check | ccache                       | the builds after the first one take seconds
check | clang                        | builds the fuzz targets (libFuzzer)
check | libclang-rt-dev|clang        | the run time of libFuzzer
check | clang-format                 | layout of the source
check | clang-tidy                   | static analysis of changed files
check | mpich                        | the run time of the MPICH programs among the tests
check | libmpich-dev                 | compiles them
check | hpcc                         | an application among the tests, against mpirun
check | lammps                       | another one
'

say() { printf 'packages: %s\n' "$*" >&2; }

rows() { # rows SET: the table's rows of that set; check includes build
  printf '%s\n' "$table" | awk -F ' +[|] ' -v set="$1" \
    'NF == 3 && ($1 == "build" || set == "check") { print }'
}

installed() {
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

known_to_apt() { # apt can install it now; a purely virtual package has no candidate
  local policy
  policy=$(LC_ALL=C apt-cache policy "$1" 2>/dev/null) || return 1
  [[ $policy =~ Candidate:\ [^\(] ]]
}

choose() { # choose "a|b": the one installed, else the first that apt knows, else a alone
  local names name
  IFS='|' read -ra names <<<"$1"
  for name in "${names[@]}"; do
    if installed "$name"; then echo "$name"; return; fi
  done
  for name in "${names[@]}"; do
    if known_to_apt "$name"; then echo "$name"; return; fi
  done
  echo "${names[0]}"
}

list() {
  local row
  rows "$1" | awk -F ' +[|] ' '{ gsub(/ /, "", $2); print $2 }' | while read -r row; do
    choose "$row"
  done | sort -u
}

missing() {
  local name
  list "$1" | while read -r name; do
    installed "$name" || echo "$name"
  done
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif sudo -n true 2>/dev/null; then
    sudo -n "$@"
  elif [ -t 0 ] && command -v sudo >/dev/null; then
    sudo "$@"
  else
    return 77
  fi
}

apt() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" </dev/null
}

install() {
  local set=$1 wanted name stale=no
  command -v apt-get >/dev/null || {
    say "this machine has no apt-get; install by hand what \`scripts/packages.sh explain\` lists"
    return 1
  }
  mapfile -t wanted < <(missing "$set")
  if [ "${#wanted[@]}" = 0 ]; then
    say "all packages of the set '$set' are installed"
    return 0
  fi
  as_root true || {
    say "${#wanted[@]} packages are missing and this user is neither root nor allowed to sudo." \
      "Have an administrator run: apt-get install ${wanted[*]}"
    return 1
  }
  for name in "${wanted[@]}"; do
    known_to_apt "$name" || stale=yes
  done
  if [ "$stale" = yes ]; then
    say "reading the package lists (apt-get update)"
    apt update
    mapfile -t wanted < <(missing "$set")
  fi
  for name in "${wanted[@]}"; do
    known_to_apt "$name" || {
      say "this release has no package '$name'; Troupe builds on Debian 12, 13 and testing"
      return 1
    }
  done
  say "installing ${#wanted[@]} packages: ${wanted[*]}"
  if ! apt install -y --no-install-recommends "${wanted[@]}"; then
    say "that failed; once more with fresh package lists"
    apt update
    apt install -y --no-install-recommends "${wanted[@]}"
  fi
  mapfile -t wanted < <(missing "$set")
  if [ "${#wanted[@]}" != 0 ]; then
    say "apt-get ended without an error, but these are still missing: ${wanted[*]}"
    return 1
  fi
  say "installed"
}

usage() {
  sed -n 's/^#   //p' "$0" >&2
  exit 2
}

[ $# -ge 1 ] && [ $# -le 2 ] || usage
set_name=${2:-build}
case $set_name in build | check) ;; *) usage ;; esac
case $1 in
  list) list "$set_name" ;;
  missing) missing "$set_name" ;;
  install) install "$set_name" ;;
  explain) printf '%s\n' "$table" | sed '/^$/d' ;;
  *) usage ;;
esac
