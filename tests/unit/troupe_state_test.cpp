// SPDX-License-Identifier: Apache-2.0
#include "tests/catch.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/purge.hpp"
#include "tools/troupe/shape.hpp"

#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::cli;
namespace fs = std::filesystem;

namespace {

struct place {
  place() {
    char pattern[] = "/tmp/troupe-state-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    path = pattern;
  }
  ~place() { fs::remove_all(path); }
  std::string path;
};

void touch(const std::string& path) {
  std::ofstream{path} << "x";
}

} // namespace

TEST_CASE("a state directory is made private, and others' or open ones are refused") {
  place in;
  auto state = in.path + "/a/b/troupe";
  REQUIRE(make_private_directory(state));
  struct stat found {};
  REQUIRE(::stat(state.c_str(), &found) == 0);
  CHECK((found.st_mode & 0777) == 0700);
  CHECK(make_private_directory(state));
  ::chmod(state.c_str(), 0755);
  CHECK_FALSE(make_private_directory(state));
  fs::create_directory_symlink(in.path, in.path + "/link");
  CHECK_FALSE(make_private_directory(in.path + "/link"));
  touch(in.path + "/file");
  CHECK_FALSE(make_private_directory(in.path + "/file"));
  if (::geteuid() == 0) {
    ::chmod(state.c_str(), 0700);
    REQUIRE(::chown(state.c_str(), 65534, 65534) == 0);
    CHECK_FALSE(make_private_directory(state));
  }
}

TEST_CASE("paths come from TROUPE_ variables, then XDG ones, then HOME") {
  ::unsetenv("TROUPE_SOCKET");
  ::unsetenv("TROUPE_STATE_DIR");
  ::setenv("HOME", "/home/someone", 1);
  ::unsetenv("XDG_STATE_HOME");
  ::unsetenv("XDG_RUNTIME_DIR");
  CHECK(*state_directory() == "/home/someone/.local/state/troupe");
  CHECK(*socket_path() == "/home/someone/.local/state/troupe/socket");
  ::setenv("XDG_STATE_HOME", "/var/state", 1);
  ::setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
  CHECK(*state_directory() == "/var/state/troupe");
  CHECK(*socket_path() == "/run/user/1/troupe/socket");
  ::setenv("TROUPE_STATE_DIR", "/elsewhere", 1);
  CHECK(*state_directory() == "/elsewhere");
  CHECK(*socket_path() == "/elsewhere/socket");
  ::setenv("TROUPE_SOCKET", "/s", 1);
  CHECK(*socket_path() == "/s");
  ::setenv("TROUPE_SOCKET", "relative", 1);
  CHECK_FALSE(socket_path());
  ::unsetenv("TROUPE_SOCKET");
  ::unsetenv("TROUPE_STATE_DIR");
}

TEST_CASE("a cluster's shape is remembered, and a broken file is as none") {
  place in;
  CHECK_FALSE(read_shape(in.path));
  REQUIRE(write_shape(in.path, {4, 8}));
  auto kept = read_shape(in.path);
  REQUIRE(kept);
  CHECK(kept->nodes == 4);
  CHECK(kept->cores == 8);
  std::ofstream{in.path + "/shape"} << "nodes 0 cores x";
  CHECK_FALSE(read_shape(in.path));
  CHECK(default_shape().cores >= 1);
}

TEST_CASE("a purge removes Troupe's files and the directory") {
  place in;
  auto state = in.path + "/troupe";
  fs::create_directories(state + "/launcher");
  fs::create_directories(state + "/keys");
  fs::create_directories(state + "/spool/1000/7");
  for (auto name : {"/ledger.db", "/ledger.db-wal", "/audit.log", "/keys/root.key", "/keys/keyring",
                    "/socket.lock", "/trouped.log", "/trouped.pid", "/shape", "/launcher/chain",
                    "/spool/1000/7/0.out"})
    touch(state + name);
  auto left = purge_state(state);
  REQUIRE(left);
  CHECK(left->empty());
  CHECK_FALSE(fs::exists(state));
  CHECK(purge_state(state)->empty());
}

TEST_CASE("a purge removes nothing where there is something that is not ours") {
  place in;
  touch(in.path + "/ledger.db");
  touch(in.path + "/thesis.tex");
  auto left = purge_state(in.path);
  REQUIRE(left);
  CHECK(*left == "thesis.tex");
  CHECK(fs::exists(in.path + "/ledger.db"));
}

TEST_CASE("a purge follows no symbolic link") {
  place in;
  place outside;
  touch(outside.path + "/precious");
  auto state = in.path + "/troupe";
  fs::create_directories(state);
  fs::create_directory_symlink(outside.path, state + "/launcher");
  REQUIRE(purge_state(state));
  CHECK(fs::exists(outside.path + "/precious"));
  fs::create_directory_symlink(outside.path, in.path + "/linked");
  CHECK_FALSE(purge_state(in.path + "/linked"));
  CHECK(fs::exists(outside.path + "/precious"));
}

TEST_CASE("names that only begin like ours are not ours") {
  CHECK(is_state_file("ledger.db-shm"));
  CHECK(is_state_file("socket"));
  CHECK_FALSE(is_state_file("ledgers"));
  CHECK_FALSE(is_state_file("keystone"));
  CHECK_FALSE(is_state_file("my-ledger"));
}
