// SPDX-License-Identifier: Apache-2.0
#include "auth/audit.hpp"
#include "auth/audit_jobs.hpp"
#include "auth/system_journal.hpp"
#include "tests/unit/auth_world.hpp"

#include <array>
#include <csignal>
#include <fstream>
#include <sstream>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::auth;
using namespace troupe::auth::test;

namespace {

struct audited {
  audit_log open() {
    auto log = audit_log::open(path, w.signing(), w.clock);
    if (!log)
      FAIL(log.error().text);
    return std::move(*log);
  }

  audit_report verify() {
    auto report = verify_audit(path, keys);
    if (!report)
      FAIL(report.error().text);
    return *report;
  }

  std::string contents() const {
    std::ifstream in{path, std::ios::binary};
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }

  void replace(const std::string& text) const {
    std::ofstream out{path, std::ios::binary | std::ios::trunc};
    out << text;
  }

  world w;
  scratch_directory dir;
  std::string path = dir.file("audit.log");
  std::vector<keyring_entry> keys{{1, key_state::retired, 0, w.signing_secret.public_part()}};
};

const audit_event login{"login", 1000, "pid 7", {{"role", "user"}, {"serial", "00ff"}}};

/// Files of this process cannot grow past `bytes` while it lives: a disk that is full.
class file_size_limit {
public:
  explicit file_size_limit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  file_size_limit(const file_size_limit&) = delete;
  file_size_limit& operator=(const file_size_limit&) = delete;
  ~file_size_limit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

private:
  rlimit before_{};
};

} // namespace

TEST_CASE("a log verifies, over restarts, with its checkpoints, and reads from its end") {
  audited a;
  {
    auto log = a.open();
    for (int i = 0; i < 1500; ++i)
      REQUIRE(log.append(login));
  }
  auto log = a.open();
  REQUIRE(log.append({"job_refused", {}, "pid \"8\"\n\xff", {}}));
  REQUIRE(log.checkpoint());
  auto report = a.verify();
  CHECK(report.good());
  CHECK(report.records == 1503);
  CHECK(report.checkpoints == 2);
  CHECK(report.last_signed == 1503);
  CHECK(report.head == log.head());
  struct stat info {};
  REQUIRE(::stat(a.path.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0600);

  auto last = tail_audit(a.path, 2);
  REQUIRE(last);
  REQUIRE(last->size() == 2);
  CHECK((*last)[0].find("\"peer\":\"pid \\\"8\\\"\\u000a\\u00ff\"") != std::string::npos);
  CHECK((*last)[1].find("checkpoint") != std::string::npos);
  CHECK(tail_audit(a.path, 5000)->size() == 1503);
  CHECK_FALSE(audit_log::open(a.path, a.w.signing(), a.w.clock));
}

TEST_CASE("a log tells which jobs were numbered and ordered, in as much of its end as is read") {
  audited a;
  CHECK(jobs_in_audit(a.path, 1u << 20)->numbered == 0);
  {
    auto log = a.open();
    REQUIRE(log.append({"warrants", 1000, "", {{"first", "3"}, {"last", "9"}}}));
    REQUIRE(log.append({"orders", {}, "", {{"first_job", "4"}, {"highest_job", "7"}}}));
    REQUIRE(log.append({"orders", {}, "", {{"first_job", "5"}}})); // of an earlier release
    REQUIRE(log.append({"login", 1000, "x\",\"last\":\"88", {{"last", "77"}}}));
  }
  const auto whole = a.contents();
  a.replace(whole + "{\"seq\":5,\"kind\":\"orders\",\"first_job\":\"99\"}\n{\"torn");
  const auto all = jobs_in_audit(a.path, ~std::uint64_t{0});
  REQUIRE(all);
  CHECK(all->numbered == 9);
  CHECK(all->ordered == 7);
  a.replace(whole);
  const auto from = whole.find("orders");
  const auto end = jobs_in_audit(a.path, whole.size() - from);
  CHECK(end->numbered == 0);
  CHECK(end->ordered == 5);
}

TEST_CASE("any altered byte is found at its record or the next, or takes the signature away") {
  audited a;
  {
    auto log = a.open();
    for (int i = 0; i < 5; ++i)
      REQUIRE(log.append(login));
    REQUIRE(log.checkpoint());
  }
  auto text = a.contents();
  std::uint64_t record = 1;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    auto altered = text;
    altered[i] = static_cast<char>(altered[i] ^ 1);
    a.replace(altered);
    auto report = a.verify();
    INFO("byte " << i << " of record " << record);
    // A checkpoint made into some other record is an unsigned end: the report says how far it
    // vouches.
    if (report.good()) {
      REQUIRE(record == 6);
      REQUIRE(report.last_signed == 0);
    } else {
      REQUIRE(report.broken_record >= record);
      REQUIRE(report.broken_record <= record + 1);
    }
    if (text[i] == '\n')
      ++record;
  }
}

TEST_CASE("a removed, repeated or moved record is found") {
  audited a;
  {
    auto log = a.open();
    for (int i = 0; i < 4; ++i)
      REQUIRE(log.append(login));
  }
  std::vector<std::string> lines;
  std::istringstream in{a.contents()};
  for (std::string line; std::getline(in, line);)
    lines.push_back(line + "\n");
  REQUIRE(lines.size() == 4);
  a.replace(lines[0] + lines[2] + lines[3]);
  CHECK(a.verify().broken_record == 2);
  a.replace(lines[0] + lines[1] + lines[1] + lines[2]);
  CHECK(a.verify().broken_record == 3);
  a.replace(lines[1] + lines[2]);
  CHECK(a.verify().broken_record == 1);
}

TEST_CASE(
    "every head that is signed goes to the system's journal, and stands in the file as well") {
  world w;
  scratch_directory dir;
  const auto place = dir.file("journal");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, place.data(), place.size());
  const unique_fd journal{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  REQUIRE(::bind(journal.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  auto log = audit_log::open(dir.file("audit.log"), w.signing(), w.clock);
  REQUIRE(log);
  const system_journal to{place};
  std::vector<bool> taken;
  log->tell_heads([&](std::uint64_t sequence, const digest& head) {
    const std::array<std::pair<std::string_view, std::string>, 2> entry{
        {{"MESSAGE", "record " + std::to_string(sequence) + "\nHEAD=forged"},
         {"HEAD", to_hex(head)}}};
    taken.push_back(to.tell(entry));
  });
  REQUIRE(log->append({"login", 1000, "", {}}));
  CHECK(taken.empty());
  const auto head = to_hex(log->head());
  REQUIRE(log->checkpoint());
  CHECK(taken == std::vector<bool>{true});
  char bytes[512];
  const auto got = ::recv(journal.get(), bytes, sizeof bytes, 0);
  REQUIRE(got > 0);
  CHECK(std::string_view(bytes, static_cast<std::size_t>(got)) ==
        "MESSAGE=record 2 HEAD=forged\nHEAD=" + head + "\n");
  const auto lines = tail_audit(dir.file("audit.log"), 1);
  REQUIRE(lines);
  CHECK(lines->back().find("\"prev\":\"" + head + "\"") != std::string::npos);
  // Nothing new is signed, so nothing is told; and without a journal the log goes on.
  REQUIRE(log->checkpoint());
  CHECK(taken.size() == 1);
  REQUIRE(::unlink(place.c_str()) == 0);
  REQUIRE(log->append({"login", 1000, "", {}}));
  REQUIRE(log->checkpoint());
  CHECK(taken == std::vector<bool>{true, false});
}

TEST_CASE("a checkpoint by another key does not verify") {
  audited a;
  auto log = a.open();
  REQUIRE(log.append(login));
  REQUIRE(log.checkpoint());
  a.keys[0].key = key_pair::generate().public_part();
  CHECK(a.verify().broken_record == 2);
  a.keys.clear();
  CHECK(a.verify().broken_record == 2);
}

TEST_CASE("a line torn by a crash is cut off, and that is recorded") {
  audited a;
  {
    auto log = a.open();
    REQUIRE(log.append(login));
    REQUIRE(log.append(login));
  }
  auto text = a.contents();
  for (std::size_t cut = 1; cut < 40; cut += 7) {
    a.replace(text.substr(0, text.size() - cut));
    CHECK(a.verify().torn_tail);
    { auto log = a.open(); }
    auto report = a.verify();
    CHECK(report.good());
    CHECK(report.records == 2);
    CHECK(tail_audit(a.path, 1)->front().find("repaired") != std::string::npos);
  }
  a.replace(text + std::string(5000, '\0'));
  { auto log = a.open(); }
  CHECK(a.verify().records == 3);
}

TEST_CASE("identical refusals are one record and a count per second") {
  audited a;
  auto log = a.open();
  for (int i = 0; i < 1000; ++i)
    REQUIRE(log.refused("pid 9", 1000, reason::expired, "submit_jobs"));
  REQUIRE(log.refused("pid 9", 1000, reason::revoked, "submit_jobs"));
  CHECK(log.last_sequence() == 2);
  a.w.clock.advance(ns_per_s);
  REQUIRE(log.flush_refusals());
  CHECK(log.last_sequence() == 3);
  auto last = tail_audit(a.path, 1)->front();
  CHECK(last.find("\"reason\":\"expired\"") != std::string::npos);
  CHECK(last.find("\"count\":\"999\"") != std::string::npos);
  for (std::size_t i = 0; i < audit_refusals_apart_max + 1000; ++i)
    REQUIRE(log.refused("peer " + std::to_string(i), {}, reason::expired, "x"));
  CHECK(log.last_sequence() < 4 + audit_refusals_apart_max + 10);
  CHECK(a.verify().good());
}

TEST_CASE("a disk that takes no record refuses new grants, and the log stays whole") {
  audited a;
  auto log = a.open();
  REQUIRE(log.append(login));
  CHECK(log.accepts());
  {
    file_size_limit full{a.contents().size() + 20};
    auto failed = log.append(login);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code == errc::storage);
    CHECK(why(log.accepts()) == reason::audit_unavailable);
    CHECK(a.verify().good());
    CHECK_FALSE(a.verify().torn_tail);
  }
  a.w.clock.advance(ns_per_s);
  CHECK(log.accepts());
  REQUIRE(log.append(login));
  CHECK(a.verify().good());
  CHECK(a.verify().records == 3); // one says that it takes records again
}

TEST_CASE("a log that others can reach, or a link, is not opened") {
  audited a;
  { auto log = a.open(); }
  REQUIRE(::chmod(a.path.c_str(), 0644) == 0);
  CHECK_FALSE(audit_log::open(a.path, a.w.signing(), a.w.clock));
  REQUIRE(::chmod(a.path.c_str(), 0600) == 0);
  auto link = a.dir.file("link");
  REQUIRE(::symlink(a.path.c_str(), link.c_str()) == 0);
  CHECK_FALSE(audit_log::open(link, a.w.signing(), a.w.clock));
}
