// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "tests/mpi/mpi_world.hpp"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::testing;

namespace {

step_wish wish(const std::string& program, std::vector<std::uint32_t> ranks,
               std::vector<std::string> arguments = {}) {
  step_wish w;
  w.argv = {mpi_program(program)};
  w.argv.insert(w.argv.end(), arguments.begin(), arguments.end());
  w.ranks_per_node = std::move(ranks);
  return w;
}

bool all_good(const step_record& step) {
  for (const auto& [rank, record] : step.ranks)
    if (record.exit_code != 0 || record.signal != 0)
      return false;
  return true;
}

bool is_in(const mpi_world& world, std::uint32_t rank) {
  return world.output(0, rank).find("is in") != std::string::npos;
}

/// Starts a command with an environment and, as root, another uid.
pid_t start_as(uid_t uid, const std::vector<std::string>& argv,
               const std::vector<std::string>& env) {
  const auto pid = ::fork();
  if (pid == 0) {
    std::vector<char*> arguments;
    std::vector<char*> variables;
    for (const auto& each : argv)
      arguments.push_back(const_cast<char*>(each.c_str()));
    for (const auto& each : env)
      variables.push_back(const_cast<char*>(each.c_str()));
    arguments.push_back(nullptr);
    variables.push_back(nullptr);
    if (uid != ::geteuid() && ::setresuid(uid, uid, uid) != 0)
      ::_exit(126);
    ::execve(arguments[0], arguments.data(), variables.data());
    ::_exit(127);
  }
  return pid;
}

int wait_for_exit(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Runs it to its end.
int run_as(uid_t uid, const std::vector<std::string>& argv, const std::vector<std::string>& env) {
  return wait_for_exit(start_as(uid, argv, env));
}

/// A directory whose files everybody may run; gone with the test.
class directory_for_all {
public:
  directory_for_all() {
    char name[] = "/tmp/troupe-for-all-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
    std::filesystem::permissions(path_, std::filesystem::perms{0755});
  }
  ~directory_for_all() {
    std::error_code none;
    std::filesystem::remove_all(path_, none);
  }
  directory_for_all(const directory_for_all&) = delete;
  directory_for_all& operator=(const directory_for_all&) = delete;

  std::string copy(const std::filesystem::path& file) const {
    const auto to = path_ / file.filename();
    std::filesystem::copy_file(file, to);
    std::filesystem::permissions(to, std::filesystem::perms{0755});
    return to;
  }

private:
  std::filesystem::path path_;
};

std::vector<std::string> environment_of(pid_t pid) {
  std::ifstream file{"/proc/" + std::to_string(pid) + "/environ"};
  std::vector<std::string> variables;
  for (std::string each; std::getline(file, each, '\0');)
    variables.push_back(each);
  return variables;
}

} // namespace

TEST_CASE("what is lost when the agents die in the middle of fences is said again") {
  // A fence carries all that was put so far: large values are few.
  const std::vector<std::vector<std::string>> sizes{{"60", "10"}, {"12", "200000"}};
  for (const auto& size : sizes) {
    mpi_world world{3};
    world.start(wish("pmix_loop", {1, 2, 1}, size));
    for (int death = 0; death < 3; ++death) {
      const auto before = world.relays;
      REQUIRE(world.wait_for([&] { return world.relays > before + 20 || world.all_ended(); }));
      const auto lost = world.relays_lost;
      world.agents_die();
      CHECK(world.wait_for([&] { return world.relays_lost > lost || world.all_ended(); }));
      world.agents_return();
    }
    REQUIRE(world.wait_for([&] { return world.all_ended(); }));
    INFO(world.all_output(0));
    CHECK(world.relays_lost > 0);
    CHECK(all_good(world.step(0)));
    CHECK(world.stop());
    CHECK(world.leftovers().empty());
  }
}

TEST_CASE("a new agent is told again what still matters") {
  mpi_world world{1};
  world.start(wish("pmix_ends", {2}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0) && is_in(world, 1); }));
  REQUIRE(world.wait_for([&] { return world.step(0).counts[0].ranks == 2; }));
  world.agents_die();
  world.step(0).counts.clear();
  world.step(0).registered.clear();
  world.agents_return();
  CHECK(world.wait_for([&] { return world.step(0).counts[0].ranks == 2; }, 5s));
  CHECK(world.step(0).registered[0]);
}

TEST_CASE("a shepherd ends in time on SIGTERM while its ranks wait, and removes what it made") {
  mpi_world world{2};
  world.start(wish("pmix_ends", {2, 2}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0) && is_in(world, 3); }));
  CHECK(world.stop(2s));
  CHECK(world.leftovers().empty());
}

TEST_CASE("nothing is left of a shepherd that is killed once its name is cleaned") {
  mpi_world world{1};
  world.start(wish("pmix_ends", {1}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0); }));
  CHECK_FALSE(world.leftovers().empty());
  const auto clean = [&] {
    return run_as(::geteuid(), {TROUPE_SHEPHERD, "--clean", world.session_name(0)},
                  {"TMPDIR=" + world.folder() + "/tmp"});
  };
  CHECK(clean() == 0);
  CHECK_FALSE(world.leftovers().empty()); // it lives: its directories are its own
  world.kill_shepherd(0);
  world.kill_rank(0, 0);
  REQUIRE(world.wait_for([&] { return world.all_ended(); }));
  CHECK(clean() == 0);
  CHECK(world.leftovers().empty());
}

TEST_CASE("cleaning up after a shepherd goes on when the launcher is killed, too") {
  mpi_world world{1};
  world.start(wish("pmix_ends", {1}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0); }));
  world.kill_shepherd(0);
  world.kill_rank(0, 0);
  REQUIRE(world.wait_for([&] { return world.all_ended(); }));
  const auto left = world.folder() + "/tmp/troupe-" + std::to_string(::geteuid()) + "/" +
                    world.session_name(0) + "/";
  constexpr int files = 20'000; // it takes a while
  for (int i = 0; i < files; ++i)
    std::ofstream{left + std::to_string(i)};
  const auto cleaner = start_as(::geteuid(), {TROUPE_SHEPHERD, "--clean", world.session_name(0)},
                                {"TMPDIR=" + world.folder() + "/tmp"});
  const auto has_begun = [&] {
    for (int i = 0; i < files; i += files / 16)
      if (::access((left + std::to_string(i)).c_str(), F_OK) != 0)
        return true;
    return false;
  };
  CHECK(world.wait_for(has_begun));
  ::kill(cleaner, SIGTERM); // what the kernel tells children of a killed launcher
  CHECK(wait_for_exit(cleaner) == 0);
  CHECK(world.leftovers().empty());
}

TEST_CASE("a stub whose shepherd is gone reports a failed exec") {
  mpi_world world{1};
  world.start(wish("pmix_ends", {1}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0); }));
  ::kill(world.shepherd_pid(0), SIGSTOP); // it takes the stub, and says nothing
  world.start(wish("pmix_hello", {1}));
  world.kill_shepherd(0);
  world.close_channel(0);
  REQUIRE(world.wait_for([&] { return world.step(1).ranks.at(0).ended; }));
  CHECK(world.step(1).ranks.at(0).start_failed);
  CHECK(world.step(1).ranks.at(0).exit_code == 127);
}

TEST_CASE("a rank killed while Open MPI or PMIx starts leaves nothing and hangs nobody") {
  for (int attempt = 0; attempt < 5; ++attempt) {
    mpi_world world{2};
    world.start(wish("pmix_hello", {2, 2}));
    REQUIRE(world.wait_for([&] { return world.step(0).counts.size() > 0; }));
    world.kill_rank(0, static_cast<std::uint32_t>(attempt % 4));
    REQUIRE(world.wait_for([&] { return world.all_ended(); }, 20s));
    CHECK(world.stop());
    CHECK(world.leftovers().empty());
  }
}

TEST_CASE("another uid that claims to be the job's is refused before it is heard") {
  if (::geteuid() != 0) {
    WARN("only root can become somebody else: not tested");
    return;
  }
  mpi_world world{1};
  world.start(wish("pmix_ends", {1}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0); }));
  auto env = environment_of(world.step(0).ranks.at(0).pid);
  // Where everybody can read them: the tree may be in its owner's home.
  const directory_for_all open_to_all;
  const std::vector<std::string> rank = {open_to_all.copy(mpi_program("pmix_init"))};
  // The same connection by the job's own user succeeds: it is the uid that decides.
  CHECK(run_as(0, rank, env) == 0);
  env.push_back("CLAIMED_UID=0");
  env.push_back("LD_PRELOAD=" + open_to_all.copy(TROUPE_CLAIM_UID));
  CHECK(run_as(65534, rank, env) == 1);
  CHECK(world.shepherd_log(0).find("uid 65534 tried to speak to this job's PMIx server: refused") !=
        std::string::npos);
}

TEST_CASE("something that is no stub on the stub channel changes nothing") {
  mpi_world world{1};
  world.start(wish("pmix_ends", {1}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0); }));
  world.send_on_channel(0, "nonsense");
  world.send_on_channel(0, std::string(5000, 'n'));
  world.start(wish("pmix_hello", {1}));
  REQUIRE(world.wait_for([&] { return world.step(1).ranks.at(0).ended; }));
  CHECK(all_good(world.step(1)));
  CHECK(world.shepherd_log(0).find("no stub") != std::string::npos);
}

TEST_CASE("bytes on the agent's socket that are no frames change nothing") {
  mpi_world world{1};
  world.start(wish("pmix_ends", {1}, {"wait"}));
  REQUIRE(world.wait_for([&] { return is_in(world, 0); }));
  std::mt19937 random{5};
  for (int i = 0; i < 500; ++i) {
    std::string bytes(random() % 300, '\0');
    for (auto& each : bytes)
      each = static_cast<char>(random());
    if (i % 2 == 0 && bytes.size() > 8) { // a head that is right, before a frame that is not
      bytes.replace(0, 8, 8, '\0');
      bytes[0] = static_cast<char>((bytes.size() - 8) % 256);
      bytes[1] = static_cast<char>((bytes.size() - 8) / 256);
    }
    world.send_as_agent(0, bytes);
  }
  world.start(wish("pmix_hello", {1}));
  REQUIRE(world.wait_for([&] { return world.step(1).ranks.at(0).ended; }));
  CHECK(all_good(world.step(1)));
  CHECK(world.shepherd_log(0).find("a frame of the agent: ") != std::string::npos);
}
