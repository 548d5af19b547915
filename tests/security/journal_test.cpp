// SPDX-License-Identifier: Apache-2.0
#include "base/unique_fd.hpp"
#include "cluster_harness.hpp"

#include <array>
#include <csignal>
#include <cstring>
#include <sys/socket.h>
#include <sys/un.h>

// The audit chain's heads, where whoever may write the chain's file may not write.

using namespace troupe;
using namespace troupe::test;
using namespace std::chrono_literals;

namespace {

/// What the system's journal is to those who write to it.
class journal {
public:
  explicit journal(const std::string& path)
      : fd_{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)} {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    REQUIRE(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  }

  /// The next entry's fields; none when there is no entry.
  std::map<std::string, std::string> take() {
    std::array<char, 4096> bytes{};
    const auto got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    std::map<std::string, std::string> fields;
    for (const auto& line :
         lines_of(got <= 0 ? "" : std::string{bytes.data(), static_cast<std::size_t>(got)}))
      fields[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
    return fields;
  }

private:
  unique_fd fd_;
};

} // namespace

TEST_CASE("heads of the audit chain go to the journal, and show that the file's end was cut off") {
  std::string folder = "/tmp/troupe-journal-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const auto place = folder + "/socket";
  journal all{place};
  test_cluster cluster{{1, 1, {"--journal", place}, {}}};
  const auto log = cluster.state() + "/audit.log";
  std::map<std::string, std::string> entry;
  REQUIRE(eventually([&] { return !(entry = all.take()).empty(); }, 30s));
  CHECK(entry["SYSLOG_IDENTIFIER"] == "troupe-audit");
  CHECK(entry["TROUPE_AUDIT_LOG"] == log);
  const auto head = entry["TROUPE_AUDIT_HEAD"];
  REQUIRE(head.size() == 64);
  CHECK(entry["MESSAGE"].find(head) != std::string::npos);
  const auto whole = read_file(log);
  const auto at = whole.find("\"prev\":\"" + head);
  REQUIRE(at != std::string::npos);
  CHECK(whole.find("\"kind\":\"checkpoint\"", at) < whole.find('\n', at));
  // Everything of the file alone fits after its end was cut off; the journal's head is gone from
  // it.
  cluster.end_trouped(SIGTERM);
  const auto checkpoint = whole.rfind('\n', at);
  REQUIRE(checkpoint != std::string::npos);
  const auto last = checkpoint == 0 ? std::string::npos : whole.rfind('\n', checkpoint - 1);
  const auto kept = last == std::string::npos ? 0 : last + 1;
  REQUIRE(::truncate(log.c_str(), static_cast<off_t>(kept)) == 0);
  cluster.up();
  CHECK(cluster.troupe({"audit", "verify"}).exit == 0);
  CHECK(read_file(log).find(head) == std::string::npos);
  ::unlink(place.c_str());
  ::rmdir(folder.c_str());
}
