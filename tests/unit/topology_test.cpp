// SPDX-License-Identifier: Apache-2.0
#include "runtime/topology/virtual_nodes.hpp"
#include "tests/catch.hpp"

#include <arpa/inet.h>
#include <hwloc.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace {

using namespace troupe::topology;

machine_topology two_sockets() {
  auto machine = machine_topology::from_synthetic("pack:2 core:4 pu:2");
  REQUIRE(machine);
  return *machine;
}

std::string list_of(const node_topology& node, std::vector<std::uint16_t> cores, bind_mode mode) {
  return format_cpu_list(cpuset_for(node, cores, mode));
}

/// What hwloc writes for a machine of this description.
std::string xml_of(const char* description) {
  hwloc_topology_t topology = nullptr;
  REQUIRE(hwloc_topology_init(&topology) == 0);
  REQUIRE(hwloc_topology_set_synthetic(topology, description) == 0);
  REQUIRE(hwloc_topology_load(topology) == 0);
  char* text = nullptr;
  int length = 0;
  REQUIRE(hwloc_topology_export_xmlbuffer(topology, &text, &length, 0) == 0);
  std::string xml(text);
  hwloc_free_xmlbuffer(topology, text);
  hwloc_topology_destroy(topology);
  return xml;
}

/// Where an X server's display would listen; counts who comes, and turns each away.
class display_watch {
public:
  display_watch() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    for (std::uint16_t display = 1; display <= 9 && !watching_; ++display) {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(static_cast<std::uint16_t>(6000 + display));
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      watching_ = ::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                  ::listen(socket_, 8) == 0;
    }
    if (watching_)
      thread_ = std::thread([this] { turn_away(); });
  }
  display_watch(const display_watch&) = delete;
  display_watch& operator=(const display_watch&) = delete;
  ~display_watch() { finish(); }

  [[nodiscard]] bool watching() const { return watching_; }

  /// How many came, at last.
  int finish() {
    ::shutdown(socket_, SHUT_RDWR); // ends accept()
    if (thread_.joinable())
      thread_.join();
    if (socket_ >= 0)
      ::close(std::exchange(socket_, -1));
    return visitors_;
  }

private:
  void turn_away() {
    for (int visitor = -1; (visitor = ::accept(socket_, nullptr, nullptr)) >= 0; ++visitors_)
      ::close(visitor);
  }

  int socket_;
  bool watching_ = false;
  int visitors_ = 0;
  std::thread thread_;
};

} // namespace

TEST_CASE("Reading this machine's topology asks no X display") {
  display_watch watch;
  if (!watch.watching()) {
    WARN("every display's port is taken; not tested");
    return;
  }
  REQUIRE(machine_topology::detect());
  CHECK(watch.finish() == 0);
}

TEST_CASE("A machine is its cores with their hardware threads and sockets") {
  auto machine = two_sockets();
  REQUIRE(machine.cores().size() == 8);
  CHECK(machine.pu_count() == 16);
  CHECK(machine.cores()[0] == machine_core{{0, 1}, 0, 0});
  CHECK(machine.cores()[5] == machine_core{{10, 11}, 1, 1});
}

TEST_CASE("Cores of one L3 cache are a group within their socket") {
  auto machine = machine_topology::from_synthetic("pack:2 l3:2 core:2 pu:1");
  REQUIRE(machine);
  CHECK(machine->cores().at(3) == machine_core{{3}, 1, 0});
  CHECK(machine->cores().at(4) == machine_core{{4}, 2, 1});
}

TEST_CASE("A machine read from XML is the one that was written") {
  auto machine = machine_topology::from_xml(xml_of("pack:2 core:4 pu:2"));
  REQUIRE(machine);
  CHECK(machine->cores() == two_sockets().cores());
  CHECK(machine->memory_bytes() == two_sockets().memory_bytes());
}

TEST_CASE("What is not a topology is refused in words") {
  auto xml = machine_topology::from_xml("<topology");
  REQUIRE_FALSE(xml);
  CHECK(xml.error().code == troupe::errc::invalid);
  CHECK_FALSE(machine_topology::from_synthetic("socks:2"));
}

TEST_CASE("This machine's cores are those that the process may use") {
  auto machine = machine_topology::detect();
  REQUIRE(machine);
  CHECK(machine->memory_bytes() > 0);
  cpu_set_t before;
  REQUIRE(sched_getaffinity(0, sizeof before, &before) == 0);
  CHECK(machine->pu_count() == static_cast<std::uint32_t>(CPU_COUNT(&before)));
  auto first = machine->cores()[0].pus[0];
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(first, &only);
  REQUIRE(sched_setaffinity(0, sizeof only, &only) == 0);
  auto small = machine_topology::detect();
  REQUIRE(sched_setaffinity(0, sizeof before, &before) == 0);
  REQUIRE(small);
  CHECK(small->pu_count() == 1);
  CHECK(small->cores()[0].pus == std::vector<std::uint32_t>{first});
}

TEST_CASE("Virtual nodes take whole cores while there are enough") {
  auto layout = virtual_nodes(two_sockets(), 2, 4, 1000);
  REQUIRE(layout);
  CHECK_FALSE(layout->oversubscribed);
  CHECK(layout->remark == "");
  REQUIRE(layout->nodes.size() == 2);
  CHECK(layout->nodes[1].memory_bytes == 1000);
  CHECK(layout->nodes[1].cores[0] == machine_core{{8, 9}, 1, 1});
  CHECK(layout->nodes[1].core_groups() == std::vector<std::uint32_t>{1, 1, 1, 1});
}

TEST_CASE("Without a size virtual nodes share the machine equally") {
  auto machine = two_sockets();
  auto layout = virtual_nodes(machine, 3, 0, 0);
  REQUIRE(layout);
  CHECK(layout->nodes[2].cores.size() == 2);
  CHECK(layout->nodes[2].memory_bytes == machine.memory_bytes() / 3);
  CHECK(virtual_nodes(machine, 100, 0, 0)->nodes[99].cores.size() == 1);
}

TEST_CASE(
    "More cores than the machine has become hardware threads, then share them, and it says so") {
  auto threads = virtual_nodes(two_sockets(), 2, 8, 0);
  REQUIRE(threads);
  CHECK_FALSE(threads->oversubscribed);
  CHECK(threads->remark ==
        "2 nodes with 8 cores each are 16 cores, this machine has 8: each is one "
        "hardware thread of 16");
  CHECK(threads->nodes[1].cores[0] == machine_core{{8}, 1, 1});
  auto shared = virtual_nodes(two_sockets(), 4, 8, 0);
  REQUIRE(shared);
  CHECK(shared->oversubscribed);
  CHECK(shared->nodes[2].oversubscribed);
  CHECK(shared->remark ==
        "4 nodes with 8 cores each are 32 cores, this machine has 8 with 16 hardware threads: "
        "over-subscribed, up to 2 share one; expect programs to run slower when they do");
  CHECK(shared->nodes[2].cores[0] == machine_core{{0}, 0, 0});
}

TEST_CASE("Impossible layouts are refused with their limits") {
  CHECK_FALSE(virtual_nodes(two_sockets(), 0, 1, 0));
  CHECK_FALSE(virtual_nodes(two_sockets(), virtual_nodes_max + 1, 1, 0));
  auto wide = virtual_nodes(two_sockets(), 1, cores_per_node_max + 1, 0);
  REQUIRE_FALSE(wide);
  CHECK(wide.error().text == "1025 cores per node were asked for; 1 to 1024 are possible");
}

TEST_CASE("Ranks are bound to their cores, their sockets, or not at all") {
  auto layout = virtual_nodes(two_sockets(), 1, 8, 0);
  REQUIRE(layout);
  const auto& node = layout->nodes[0];
  CHECK(list_of(node, {1, 2}, bind_mode::core) == "2-5");
  CHECK(list_of(node, {0, 5}, bind_mode::core) == "0-1,10-11");
  CHECK(list_of(node, {5}, bind_mode::socket) == "8-15");
  CHECK(list_of(node, {0, 7}, bind_mode::socket) == "0-15");
  CHECK(list_of(node, {3}, bind_mode::none) == "");
  CHECK(list_of(node, {99}, bind_mode::core) == "");
  auto halves = virtual_nodes(two_sockets(), 4, 2, 0);
  CHECK(list_of(halves->nodes[1], {0}, bind_mode::socket) == "4-7"); // not beyond its node
}

TEST_CASE("A CPU list names runs and single PUs across words") {
  cpu_words words;
  for (std::uint32_t pu : {0u, 1u, 2u, 3u, 8u, 63u, 64u, 130u})
    add_pu(words, pu);
  CHECK(format_cpu_list(words) == "0-3,8,63-64,130");
  CHECK(words.size() == 3);
  CHECK(format_cpu_list({}) == "");
}
