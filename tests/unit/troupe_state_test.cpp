// SPDX-License-Identifier: Apache-2.0
#include "auth/cluster_keys.hpp"
#include "auth/trust_view.hpp"
#include "runtime/state/files.hpp"
#include "runtime/state/locks.hpp"
#include "runtime/state/records.hpp"
#include "tests/catch.hpp"
#include "tools/troupe/paths.hpp"
#include "tools/troupe/purge.hpp"
#include "tools/troupe/shape.hpp"

#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

/// A child that holds a lock until it goes.
class lock_of_another {
public:
  explicit lock_of_another(const std::string& path) {
    int ready[2];
    REQUIRE(::pipe(ready) == 0);
    child_ = ::fork();
    if (child_ == 0) {
      struct flock lock {};
      lock.l_type = F_WRLCK;
      const auto file = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
      const char done = ::fcntl(file, F_SETLK, &lock) == 0 ? 'y' : 'n';
      (void)!::write(ready[1], &done, 1);
      ::pause();
      ::_exit(0);
    }
    char done = 0;
    REQUIRE(::read(ready[0], &done, 1) == 1);
    REQUIRE(done == 'y');
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~lock_of_another() {
    ::kill(child_, SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  lock_of_another(const lock_of_another&) = delete;
  lock_of_another& operator=(const lock_of_another&) = delete;
  pid_t pid() const { return child_; }

private:
  pid_t child_ = 0;
};

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

TEST_CASE("paths come from TROUPE_ variables, then XDG ones, then HOME, then the user's entry") {
  ::unsetenv("TROUPE_SOCKET");
  ::unsetenv("TROUPE_STATE_DIR");
  ::setenv("HOME", "/home/someone", 1);
  ::unsetenv("XDG_STATE_HOME");
  CHECK(*state_directory() == "/home/someone/.local/state/troupe");
  CHECK(*socket_path() == "/home/someone/.local/state/troupe/socket");
  ::setenv("XDG_STATE_HOME", "/var/state", 1);
  CHECK(*state_directory() == "/var/state/troupe");
  ::setenv("TROUPE_STATE_DIR", "/elsewhere", 1);
  CHECK(*state_directory() == "/elsewhere");
  CHECK_FALSE(is_socket_elsewhere("/elsewhere"));
  // Which cluster is meant, no other variable says.
  ::setenv("XDG_RUNTIME_DIR", "/run/user/1", 1);
  CHECK(*socket_path() == "/elsewhere/socket");
  ::setenv("TROUPE_SOCKET", "/s", 1);
  CHECK(*socket_path() == "/s");
  CHECK(is_socket_elsewhere("/elsewhere"));
  ::setenv("TROUPE_SOCKET", "relative", 1);
  CHECK_FALSE(socket_path());
  ::unsetenv("TROUPE_SOCKET");
  ::unsetenv("TROUPE_STATE_DIR");
  ::unsetenv("XDG_STATE_HOME");
  ::unsetenv("XDG_RUNTIME_DIR");
  ::unsetenv("HOME");
  const auto* entry = ::getpwuid(::geteuid());
  REQUIRE(entry != nullptr);
  CHECK(*state_directory() == std::string{entry->pw_dir} + "/.local/state/troupe");
  ::setenv("HOME", "/home/someone", 1);
}

TEST_CASE("a cluster's shape is remembered whole, and a damaged file is told") {
  place in;
  CHECK(*state::read_shape(in.path) == std::nullopt);
  const state::shape kept{4, 8, "/etc/troupe with a space.toml"};
  REQUIRE(state::write_shape(in.path, kept));
  CHECK(**state::read_shape(in.path) == kept);
  CHECK_FALSE(state::write_shape(in.path, {1, 1, "/a\nb"}));
  CHECK(**state::read_shape(in.path) == kept);
  for (const auto* text : {"nodes 0 cores x", "", "nodes 4 co", "nodes 4 cores 8"}) {
    std::ofstream{in.path + "/shape"} << text;
    INFO(text);
    auto read = state::read_shape(in.path);
    REQUIRE_FALSE(read);
    CHECK(read.error().text.find("--nodes") != std::string::npos);
  }
  std::ofstream{in.path + "/shape"} << "nodes 4 cores 8\n"; // as the release before wrote it
  CHECK(**state::read_shape(in.path) == state::shape{4, 8, {}});
  CHECK(default_shape().cores >= 1);
}

TEST_CASE("a lock names its holder, and goes with it") {
  place in;
  CHECK_FALSE(state::daemon_of(in.path));
  {
    const lock_of_another daemon{in.path + "/trouped.lock"};
    REQUIRE(state::daemon_of(in.path));
    CHECK(state::daemon_of(in.path)->pid == daemon.pid());
    const auto refused = state::become_daemon(in.path);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::conflict);
    CHECK(refused.error().text.find(std::to_string(daemon.pid())) != std::string::npos);
  }
  {
    // A daemon of an earlier release has no lock but its ledger's.
    const lock_of_another daemon{in.path + "/ledger.db"};
    CHECK(state::daemon_of(in.path)->pid == daemon.pid());
  }
  CHECK_FALSE(state::daemon_of(in.path));
  {
    const auto lock = state::become_daemon(in.path);
    CHECK(lock);
    CHECK_FALSE(state::other_host(in.path)); // it is this one
  }
  std::ofstream{in.path + "/trouped.lock"} << "elsewhere\n";
  CHECK(*state::other_host(in.path) == "elsewhere");
}

TEST_CASE("a turn waits for another's, says whose it is, and is not one on a file that is gone") {
  place in;
  pid_t told = 0;
  {
    auto other = std::make_unique<lock_of_another>(in.path + "/lock");
    const auto pid = other->pid();
    auto turn = state::take_turn(in.path, [&](const state::lock_holder& who) {
      told = who.pid;
      other.reset();
    });
    CHECK(turn);
    CHECK(told == pid);
  }
  fs::remove_all(in.path + "/gone");
  CHECK(state::take_turn(in.path + "/gone", [](const auto&) {}).error().code == errc::not_found);
}

namespace {

/// A state directory as a cluster leaves it.
std::string make_state(const place& in) {
  auto state = in.path + "/troupe";
  REQUIRE(::mkdir(state.c_str(), 0700) == 0);
  auto keys = auth::open_private_cluster_keys(state + "/keys");
  REQUIRE(keys);
  fs::create_directories(state + "/launcher");
  fs::create_directories(state + "/spool/1000/7");
  for (auto name : {"/ledger.db", "/ledger.db-wal", "/ledger.db.ballast", "/audit.log",
                    "/socket.lock", "/trouped.log", "/trouped.lock", "/trouped.pid", "/lock",
                    "/shape", "/shape.new.812", "/launcher/keyring", "/launcher/.trust.new",
                    "/launcher/orders.old", "/spool/1000/7/1.0.4294967295.0.out"})
    touch(state + name);
  auth::trust_head trust;
  trust.magic = auth::trust_magic;
  std::copy(keys->cluster.begin(), keys->cluster.end(), trust.cluster_id);
  std::copy(keys->root.begin(), keys->root.end(), trust.root_key);
  std::ofstream{state + "/launcher/trust", std::ios::binary}.write(
      reinterpret_cast<const char*>(&trust), sizeof trust);
  REQUIRE(state::write_mark(state, {auth::to_hex(keys->cluster), true}));
  return state;
}

std::size_t files_in(const std::string& directory) {
  return static_cast<std::size_t>(std::distance(fs::recursive_directory_iterator{directory}, {}));
}

} // namespace

TEST_CASE("a purge removes Troupe's files and the directory, and leaves a configuration") {
  place in;
  auto state = make_state(in);
  CHECK(purge_state(state).value() == purge_outcome::removed);
  CHECK_FALSE(fs::exists(state));
  CHECK(purge_state(state).value() == purge_outcome::nothing_there);
  place other;
  state = make_state(other);
  touch(state + "/troupe.toml");
  CHECK(purge_state(state));
  CHECK(files_in(state) == 1);
}

TEST_CASE("a purge removes nothing where there is anything that is not ours") {
  for (const auto* name :
       {"thesis.tex", "ledger-2025.csv", "ledger.db.bak", "keys/id_ed25519", "keys/signing-a.key",
        "launcher/sub", "spool/notes.txt", "spool/1000/7/plot.out", "trouped.log.1", "sockets"}) {
    place in;
    const auto state = make_state(in);
    touch(state + "/" + name);
    const auto before = files_in(state);
    INFO(name);
    const auto refused = purge_state(state);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find(name) != std::string::npos);
    CHECK(files_in(state) == before);
  }
}

TEST_CASE("a purge wants Troupe's mark, and refuses while anything of the cluster is held") {
  place in;
  const auto state = make_state(in);
  const auto before = files_in(state);
  for (const auto* name : {"/trouped.lock", "/launcher/lock", "/ledger.db"}) {
    touch(state + "/launcher/lock");
    const lock_of_another holder{state + name};
    const auto refused = purge_state(state);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find(std::to_string(holder.pid())) != std::string::npos);
    CHECK(files_in(state) == before + 1);
  }
  fs::remove(state + "/cluster");
  const auto refused = purge_state(state);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().text.find("mark") != std::string::npos);
  CHECK(files_in(state) == before);
}

TEST_CASE("a purge that was cut off at any moment is told as one, and is done by another") {
  for (std::size_t gone = 0; gone <= 12; ++gone) {
    place in;
    const auto state = make_state(in);
    REQUIRE(state::begin_purge(state));
    std::vector<fs::path> files;
    for (const auto& each : fs::recursive_directory_iterator{state})
      if (each.is_regular_file() && each.path().parent_path() != state)
        files.push_back(each.path());
    for (const auto* name : {"ledger.db", "audit.log", "shape", "cluster"})
      files.push_back(state + "/" + name);
    for (std::size_t i = 0; i < files.size() && i < gone; ++i)
      fs::remove(files[i]);
    const auto refused = state::check_whole(state);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("troupe down --purge") != std::string::npos);
    CHECK(purge_state(state).value() == purge_outcome::removed);
    CHECK_FALSE(fs::exists(state));
  }
  place in;
  fs::create_directories(in.path + "/state");
  CHECK_FALSE(purge_state(in.path + "/state")); // nothing says that it is Troupe's
  touch(in.path + "/state/lock");
  CHECK(purge_state(in.path + "/state")); // all that was left of one
}

TEST_CASE("a purge follows no symbolic link, and takes none for a file of ours") {
  place outside;
  touch(outside.path + "/keyring");
  for (const auto* name : {"launcher", "spool", "keys"}) {
    place in;
    const auto state = make_state(in);
    fs::remove_all(state + "/" + name);
    fs::create_directory_symlink(outside.path, state + "/" + name);
    CHECK_FALSE(purge_state(state));
    CHECK(fs::exists(outside.path + "/keyring"));
    CHECK(fs::exists(state + "/ledger.db"));
  }
  place in;
  const auto state = make_state(in);
  fs::create_directory_symlink(state, in.path + "/linked");
  CHECK_FALSE(purge_state(in.path + "/linked"));
  fs::remove(state + "/audit.log");
  fs::create_symlink(outside.path + "/keyring", state + "/audit.log");
  CHECK_FALSE(purge_state(state));
  CHECK(fs::exists(outside.path + "/keyring"));
}

TEST_CASE("a name is ours whole or not at all") {
  using state::owner_of;
  using state::ownership;
  CHECK(owner_of("ledger.db-wal") == ownership::ours);
  CHECK(owner_of("keys") == ownership::our_folder);
  CHECK(owner_of("keys/signing-12.key") == ownership::ours);
  CHECK(owner_of("keys/signing-12.key.new.81") == ownership::ours);
  CHECK(owner_of("spool/0/18446744073709551615") == ownership::our_folder);
  CHECK(owner_of("troupe.toml") == ownership::configuration);
  for (const auto* name : {"", "ledger", "ledgers", "my-ledger.db", "keys/", "keys/signing-.key",
                           "keys/signing-1.keys", "keys/sub/root.key", "spool/a", "spool/1/2/3",
                           "shape.new.", "audit.log.new.1", "./shape"})
    CHECK(owner_of(name) == ownership::foreign);
}

TEST_CASE("a state directory that contradicts itself is refused and left as it is") {
  const auto fails = [](const std::string& state, const char* word) {
    const auto before = files_in(state);
    const auto refused = state::check_whole(state);
    INFO(word);
    REQUIRE_FALSE(refused);
    INFO(refused.error().text);
    CHECK(refused.error().text.find(word) != std::string::npos);
    CHECK(refused.error().text.find('\n') == std::string::npos);
    CHECK(files_in(state) == before);
  };
  {
    place in;
    const auto state = make_state(in);
    const auto whole = state::check_whole(state);
    REQUIRE(whole);
    CHECK(whole->has_ledger);
    CHECK_FALSE(whole->has_head);   // no release before the mark made one
    fs::remove(state + "/cluster"); // as the release before left it
    CHECK(*state::check_whole(state) == *whole);
  }
  for (const auto* name : {"root.pub", "keyring", "signing-1.key"}) {
    place in;
    const auto state = make_state(in);
    fs::remove(state + "/keys/" + name);
    fails(state, name);
  }
  for (const auto* keeps : {"cluster", "ledger.db", "audit.log", "launcher/trust"}) {
    place in;
    const auto state = make_state(in);
    for (const auto* name : {"keys", "cluster", "ledger.db", "audit.log", "launcher/trust"})
      if (std::string{name} != keeps)
        fs::remove_all(state + "/" + name);
    fails(state, "keys");
  }
  {
    place in;
    const auto state = make_state(in);
    fs::resize_file(state + "/ledger.db", 0);
    fails(state, "ledger.db");
    fs::remove(state + "/ledger.db");
    fails(state, "ledger.db");
    fs::remove(state + "/cluster");
    fails(state, "ledger.db");
  }
  {
    place in, of_another;
    const auto state = make_state(in);
    const auto other = make_state(of_another);
    fs::copy_file(other + "/launcher/trust", state + "/launcher/trust",
                  fs::copy_options::overwrite_existing);
    fails(state, "launcher");
    fs::remove(state + "/launcher/trust");
    fails(state, "launcher/trust");
    fs::remove(state + "/launcher/keyring");
    CHECK(state::check_whole(state));
    fs::copy_file(other + "/cluster", state + "/cluster", fs::copy_options::overwrite_existing);
    fails(state, "cluster");
    std::ofstream{state + "/cluster"} << "nodes: 4\n";
    fails(state, "cluster");
  }
}

TEST_CASE("a new state directory, and one whose first start was cut off, are no contradiction") {
  place in;
  CHECK(*state::check_whole(in.path) == state::mark{});
  touch(in.path + "/trouped.log");
  fs::create_directories(in.path + "/keys.new.77");
  touch(in.path + "/keys.new.77/root.key");
  for (const auto& one : {state::mark{"77", true, true}, state::mark{"77", true}, state::mark{}}) {
    REQUIRE(state::write_mark(in.path, one));
    CHECK(*state::read_mark(in.path) == one);
  }
  CHECK(*state::check_whole(in.path) == state::mark{});
  auto keys = auth::open_private_cluster_keys(in.path + "/keys");
  REQUIRE(keys);
  CHECK(*state::check_whole(in.path) == state::mark{auth::to_hex(keys->cluster), false});
}
