// SPDX-License-Identifier: Apache-2.0
#include "catch.hpp"
#include "messages/shepherd_packets.hpp"
#include "tests/eventually.hpp"
#include "tools/shepherd/collectives.hpp"
#include "tools/shepherd/directories.hpp"
#include "tools/shepherd/published.hpp"
#include "tools/shepherd/relay.hpp"
#include "tools/shepherd/steps.hpp"
#include "tools/stub/nodes.hpp"

#include <filesystem>
#include <pmix_common.h>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>

using namespace troupe;
using namespace troupe::shepherd;
namespace fs = std::filesystem;

namespace {

constexpr std::uint32_t every_rank = PMIX_RANK_WILDCARD;

std::vector<std::uint8_t> bytes_of(const std::string& text) {
  return {text.begin(), text.end()};
}

/// The shepherds' collectives of `count` nodes with one rank each, and a bag of messages between
/// them that a seed takes from in any order.
class node_circle {
public:
  node_circle(std::uint32_t count, std::uint32_t seed) : random_{seed} {
    for (std::uint32_t i = 0; i < count; ++i)
      all_.push_back(i);
    for (std::uint32_t i = 0; i < count; ++i) {
      collectives::world w;
      w.send = [this, i](std::uint32_t to, const peer_message& message) {
        bag_.push_back({i, to, message});
      };
      w.nodes_of = [this](const auto&) { return all_; };
      w.status_of_loss = -1;
      w.status_of_unknown = -2;
      w.status_of_timeout = -3;
      nodes_.push_back(std::make_unique<collectives>(std::move(w)));
      nodes_.back()->set_own_node(i);
    }
  }

  void start(std::uint32_t node, const std::string& name = "") {
    nodes_[node]->start({collective_kind::fence,
                         {{"job", every_rank}},
                         name,
                         bytes_of("<" + std::to_string(node) + ">"),
                         timeout},
                        [this, node](std::int32_t status, const auto& parts) {
                          std::string text = std::to_string(status) + ":";
                          for (const auto& part : parts)
                            text.append(part.data.begin(), part.data.end());
                          results[node].push_back(text);
                        });
  }
  void deliver_all() {
    while (!bag_.empty()) {
      const auto at = bag_.begin() + static_cast<std::ptrdiff_t>(random_() % bag_.size());
      auto each = std::move(*at);
      bag_.erase(at);
      ++messages;
      auto& to = *nodes_[each.to];
      if (each.message.collective_part)
        to.take(each.from, std::move(*each.message.collective_part));
      if (each.message.collective_doubt)
        to.take(each.from, *each.message.collective_doubt);
      if (each.message.collective_failed)
        to.take(each.from, *each.message.collective_failed);
    }
  }
  collectives& node(std::uint32_t index) { return *nodes_[index]; }

  std::map<std::uint32_t, std::vector<std::string>> results;
  std::size_t messages = 0;
  steady::duration timeout{};

private:
  struct flight {
    std::uint32_t from, to;
    peer_message message;
  };
  std::mt19937 random_;
  std::vector<std::uint32_t> all_;
  std::vector<std::unique_ptr<collectives>> nodes_;
  std::vector<flight> bag_;
};

register_step sample_step(const std::vector<std::uint32_t>& ranks_per_node) {
  register_step step;
  step.nspace = "job";
  std::uint32_t first = 0;
  for (const auto count : ranks_per_node) {
    step.nodes.push_back({"n" + std::to_string(step.nodes.size()), first, count, {}});
    first += count;
  }
  step.ranks_total = first;
  return step;
}

std::string mapping_of(const std::vector<std::uint32_t>& ranks_per_node) {
  step_state state;
  state.about = sample_step(ranks_per_node);
  return process_mapping(state);
}

std::string make_folder() {
  std::string path = fs::temp_directory_path() / "troupe-parts-XXXXXX";
  REQUIRE(::mkdtemp(path.data()) != nullptr);
  return path;
}

std::string own_parent(const std::string& base) {
  return base + "/troupe-" + std::to_string(::geteuid());
}

} // namespace

TEST_CASE("a collective gives every node all parts in order, in as few messages as there can be") {
  for (std::uint32_t count = 1; count <= 17; ++count) {
    node_circle circle{count, count};
    std::string all = "0:";
    std::uint32_t rounds = 0;
    while ((1U << rounds) < count)
      ++rounds;
    for (std::uint32_t i = 0; i < count; ++i) {
      all += "<" + std::to_string(i) + ">";
      circle.start(i);
      if (i % 3 == 1)
        circle.deliver_all(); // some are early
    }
    circle.deliver_all();
    for (std::uint32_t i = 0; i < count; ++i) {
      REQUIRE(circle.results[i].size() == 1);
      CHECK(circle.results[i][0] == all);
      CHECK(circle.node(i).waiting() == 0);
    }
    CHECK(circle.messages == std::size_t{count} * rounds);
  }
}

TEST_CASE("collectives of the same ranks follow each other, and named ones do not mix") {
  node_circle circle{5, 7};
  for (int turn = 0; turn < 10; ++turn)
    for (std::uint32_t i = 0; i < 5; ++i) {
      circle.start((i + static_cast<std::uint32_t>(turn)) % 5, turn % 2 == 0 ? "even" : "odd");
      if (turn % 3 == 0)
        circle.deliver_all();
    }
  circle.deliver_all();
  for (std::uint32_t i = 0; i < 5; ++i)
    CHECK(circle.results[i] == std::vector<std::string>(10, "0:<0><1><2><3><4>"));
}

TEST_CASE("a collective whose participant ended before it came fails everywhere, and at once") {
  for (std::uint32_t seed = 0; seed < 50; ++seed) {
    node_circle circle{6, seed};
    for (std::uint32_t i = 0; i < 5; ++i)
      circle.start(i);
    circle.deliver_all();
    CHECK(circle.results.empty());
    for (std::uint32_t i = 0; i < 6; ++i)
      circle.node(i).rank_ended({"job", 5}, 5);
    circle.deliver_all();
    for (std::uint32_t i = 0; i < 5; ++i)
      CHECK(circle.results[i] == std::vector<std::string>{"-1:"});
    circle.start(5); // it comes after all
    CHECK(circle.results[5] == std::vector<std::string>{"-1:"});
    for (std::uint32_t i = 0; i < 5; ++i)
      circle.start(i); // its end is known before they come
    circle.deliver_all();
    for (std::uint32_t i = 0; i < 5; ++i)
      CHECK(circle.results[i] == std::vector<std::string>{"-1:", "-1:"});
  }
}

TEST_CASE("a rank that ends after its part was given spoils nothing") {
  node_circle circle{5, 3};
  for (std::uint32_t i = 0; i < 5; ++i)
    circle.start(i);
  for (std::uint32_t i = 0; i < 5; ++i)
    circle.node(i).rank_ended({"job", 2}, 2);
  circle.deliver_all();
  for (std::uint32_t i = 0; i < 5; ++i)
    CHECK(circle.results[i] == std::vector<std::string>{"0:<0><1><2><3><4>"});
}

TEST_CASE("a collective that times out on one node ends on all") {
  node_circle circle{5, 4};
  for (std::uint32_t i = 0; i < 4; ++i) {
    circle.timeout = i == 2 ? std::chrono::seconds{1} : std::chrono::seconds{0};
    circle.start(i);
  }
  circle.deliver_all();
  circle.node(2).tick(steady::now());
  CHECK(circle.results.empty());
  circle.node(2).tick(steady::now() + std::chrono::seconds{2});
  circle.deliver_all();
  for (std::uint32_t i = 0; i < 4; ++i)
    CHECK(circle.results[i] == std::vector<std::string>{"-3:"});
}

TEST_CASE("nobody waits for a node that is lost") {
  node_circle circle{4, 9};
  for (std::uint32_t i = 0; i < 3; ++i)
    circle.start(i);
  circle.deliver_all();
  for (std::uint32_t i = 0; i < 3; ++i)
    circle.node(i).node_lost(3);
  for (std::uint32_t i = 0; i < 3; ++i) {
    CHECK(circle.results[i] == std::vector<std::string>{"-1:"});
    circle.start(i);
    CHECK(circle.results[i].size() == 2);
  }
}

TEST_CASE("what waited for a shepherd that ended reaches the one in its place, and no late word") {
  std::vector<relay> said[2];
  std::vector<std::uint64_t> got[2];
  const auto make = [&](std::uint32_t i, std::uint64_t session) {
    return std::make_unique<relay_links>(
        session,
        [&said, i](relay part) {
          part.node = i;
          said[i].push_back(std::move(part));
        },
        [&got, i](std::uint32_t, peer_message message) {
          got[i].push_back(message.answer->token);
        });
  };
  const auto word = [](std::uint64_t token) {
    peer_message message;
    message.answer.emplace().token = token;
    return message;
  };
  auto here = make(0, 100);
  auto there = make(1, 200);
  const auto carry = [&] {
    for (bool moved = true; moved;) {
      moved = false;
      for (std::uint32_t i = 0; i < 2; ++i)
        for (auto& part : std::exchange(said[i], {})) {
          moved = true;
          (i == 0 ? there : here)->take(part);
        }
    }
  };
  here->send(1, word(1));
  there->send(0, word(2));
  carry();
  const auto later = steady::now() + std::chrono::seconds{1};
  there->tick(later); // what is owed is acknowledged
  here->tick(later);
  carry();
  CHECK(got[1] == std::vector<std::uint64_t>{1});
  there->send(0, word(3));
  const auto late = std::exchange(said[1], {}); // on its way when its sender ended
  there = make(1, 201);
  here->send(1, word(4));
  carry(); // meant for the first one, and sent again to the second
  there->send(0, word(5));
  carry();
  for (const auto& part : late)
    here->take(part);
  here->send(1, word(6));
  carry();
  CHECK(got[1] == std::vector<std::uint64_t>{1, 4, 6});
  CHECK(got[0] == std::vector<std::uint64_t>{2, 5});
}

TEST_CASE("relays arrive once and in order over a way that loses, repeats and reorders") {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    std::mt19937 random{seed};
    std::vector<relay> bags[2];
    std::vector<std::uint64_t> got[2];
    std::vector<std::unique_ptr<relay_links>> ends;
    for (std::uint32_t i = 0; i < 2; ++i)
      ends.push_back(std::make_unique<relay_links>(
          i + 1,
          [&bags, i](relay part) {
            part.node = i;
            bags[1 - i].push_back(std::move(part));
          },
          [&got, i](std::uint32_t, peer_message message) {
            got[i].push_back(message.answer->token);
          }));
    constexpr std::uint64_t count = 200;
    const auto turn = [&] {
      for (std::uint32_t i = 0; i < 2; ++i) {
        auto parts = std::exchange(bags[i], {});
        if (random() % 4 == 0)
          std::ranges::shuffle(parts, random);
        for (auto& part : parts) {
          const auto fate = random() % 4;
          if (fate == 0)
            ends[i]->take(part);
          if (fate != 1)
            ends[i]->take(std::move(part));
        }
      }
      if (random() % 8 == 0)
        ends[random() % 2]->resend_all(); // a new agent
    };
    for (std::uint64_t token = 0; token < count; ++token)
      for (std::uint32_t i = 0; i < 2; ++i) {
        peer_message message;
        message.answer.emplace().token = token;
        if (token == 50) // more than one payload
          message.answer->values.push_back(
              {{"job", 0}, "large", std::vector<std::uint8_t>(3'000'000)});
        ends[i]->send(1 - i, message);
        turn();
      }
    CHECK(test::eventually([&] {
      turn();
      return got[0].size() == count && got[1].size() == count;
    }));
    for (const auto& each : got)
      for (std::uint64_t token = 0; token < each.size(); ++token)
        REQUIRE(each[token] == token);
  }
}

TEST_CASE("a frame torn by the death of a reader or writer is dropped, and the next is whole") {
  std::vector<std::vector<std::uint8_t>> first;
  std::vector<std::vector<std::uint8_t>> second;
  packets_of(std::vector<std::uint8_t>(200'000, 1), first);
  packets_of(std::vector<std::uint8_t>(150'000, 2), second);
  REQUIRE(first.size() == 4);
  packet_reader reader; // the successor of one that took the first packet
  for (std::size_t i = 1; i < first.size(); ++i)
    CHECK(*reader.take(first[i]) == false);
  for (std::size_t i = 0; i < second.size(); ++i)
    CHECK(*reader.take(second[i]) == (i + 1 == second.size()));
  CHECK(reader.frame().size() == 150'000);
  CHECK(*reader.take(first[0]) == false); // its writer died here
  CHECK(*reader.take(second[0]) == false);
  CHECK(*reader.take(second[1]) == false);
  CHECK(*reader.take(second[2]) == true);
  CHECK(reader.frame()[0] == 2);
  CHECK_FALSE(reader.take(std::vector<std::uint8_t>(3)));
  CHECK_FALSE(reader.take(std::vector<std::uint8_t>{1, 0, 0, 0, 2, 0, 0, 0, 9}));
  CHECK_FALSE(reader.take(std::vector<std::uint8_t>{0, 0, 0, 9, 0, 0, 0, 0, 9}));
}

TEST_CASE("what is published is found by those it is for, once or until its owner goes") {
  published_values store;
  const process_name owner{"a", 0};
  const process_name other{"b", 1};
  std::vector<std::pair<std::int32_t, std::size_t>> answers;
  const auto note = [&](std::int32_t status, const std::vector<stored_value>& values) {
    answers.emplace_back(status, values.size());
  };
  store.lookup({1, other, PMIX_RANGE_SESSION, true, 0, {"x", "y"}}, note);
  CHECK(answers.empty());
  CHECK(
      store.publish({1, owner, PMIX_RANGE_SESSION, PMIX_PERSIST_FIRST_READ, {{owner, "x", {1}}}}) ==
      PMIX_SUCCESS);
  CHECK(store.publish({1, owner, PMIX_RANGE_SESSION, PMIX_PERSIST_APP, {{owner, "x", {1}}}}) ==
        PMIX_ERR_DUPLICATE_KEY);
  CHECK(answers.empty());
  CHECK(store.publish({1, owner, PMIX_RANGE_SESSION, PMIX_PERSIST_APP, {{owner, "y", {1}}}}) ==
        PMIX_SUCCESS);
  REQUIRE(answers.size() == 1);
  CHECK(answers[0] == std::pair{PMIX_SUCCESS, std::size_t{2}});
  store.lookup({1, other, PMIX_RANGE_SESSION, false, 0, {"x", "x"}}, note);
  CHECK(answers.back().first == PMIX_ERR_NOT_FOUND);
  CHECK(store.publish({1, owner, PMIX_RANGE_NAMESPACE, PMIX_PERSIST_PROC, {{owner, "z", {1}}}}) ==
        PMIX_SUCCESS);
  store.lookup({1, other, PMIX_RANGE_SESSION, false, 0, {"z"}}, note);
  CHECK(answers.back().first == PMIX_ERR_NOT_FOUND);
  store.rank_ended(owner);
  store.lookup({1, owner, PMIX_RANGE_SESSION, false, 0, {"z"}}, note);
  CHECK(answers.back().first == PMIX_ERR_NOT_FOUND);
  store.lookup({1, owner, PMIX_RANGE_SESSION, false, 0, {"y"}}, note);
  CHECK(answers.back().first == PMIX_SUCCESS);
  store.step_ended("a");
  store.lookup({1, owner, PMIX_RANGE_SESSION, true, 1, {"y"}}, note);
  store.tick(steady::now() + std::chrono::seconds{2});
  CHECK(answers.back().first == PMIX_ERR_TIMEOUT);
}

TEST_CASE("PMI-1's process mapping says which ranks share a node") {
  CHECK(mapping_of({4}) == "(vector,(0,1,4))");
  CHECK(mapping_of({2, 2, 2}) == "(vector,(0,3,2))");
  CHECK(mapping_of({2, 2, 1}) == "(vector,(0,2,2),(2,1,1))");
  CHECK(mapping_of({0, 3}) == "(vector,(1,1,3))");
  step_state dealt;
  dealt.about = sample_step({2, 2});
  dealt.about.nodes[0].ranks = {0, 2};
  dealt.about.nodes[1].ranks = {1, 3};
  CHECK(process_mapping(dealt) == "(vector,(0,2,1),(0,2,1))");
}

TEST_CASE("a step that contradicts itself is refused with its fault") {
  CHECK(fault_of(sample_step({2, 1})).empty());
  auto step = sample_step({2, 1});
  step.node_index = 2;
  CHECK_FALSE(fault_of(step).empty());
  step = sample_step({2, 1});
  step.ranks_total = 4;
  CHECK_FALSE(fault_of(step).empty());
  step = sample_step({2, 1});
  step.nodes[0].ranks = {1};
  CHECK_FALSE(fault_of(step).empty());
}

TEST_CASE("session directories are private, exclusive, and swept when nobody holds them") {
  const auto base = make_folder();
  {
    auto first = held_directory::make(base, "1.0.0.0");
    REQUIRE(first);
    auto second = held_directory::make(base, "1.0.0.0");
    REQUIRE(second);
    CHECK(second->path() == first->path() + "-2");
    CHECK((fs::status(first->path()).permissions() & fs::perms::all) == fs::perms::owner_all);
    REQUIRE(first->add("0"));
    fs::create_directories(first->path() + "/0/deep/er");
    // Left by a kill: nobody holds it.
    fs::create_directories(own_parent(base) + "/9.9.9.9/files");
    fs::create_symlink(base, own_parent(base) + "/9.9.9.9/files/out");
    const auto third = held_directory::make(base, "2.0.0.0");
    REQUIRE(third);
    CHECK_FALSE(fs::exists(own_parent(base) + "/9.9.9.9"));
    CHECK(fs::exists(first->path() + "/0/deep"));
    clean_directories(base, "1.0.0.0");
    CHECK(fs::exists(first->path() + "/0/deep")); // held
  }
  CHECK(fs::exists(base)); // the link was removed, not followed
  CHECK(fs::is_empty(base));
  fs::remove_all(base);
}

TEST_CASE("a parent directory that others may write, or that is a link, is refused") {
  const auto base = make_folder();
  fs::create_directory(own_parent(base));
  ::chmod(own_parent(base).c_str(), 0777);
  CHECK_FALSE(held_directory::make(base, "1.0.0.0"));
  fs::remove_all(own_parent(base));
  fs::create_directory(base + "/elsewhere");
  fs::create_directory_symlink(base + "/elsewhere", own_parent(base));
  CHECK_FALSE(held_directory::make(base, "1.0.0.0"));
  CHECK(fs::is_empty(base + "/elsewhere"));
  fs::remove_all(base);
}

TEST_CASE("a script's nodes and their tasks are read side by side, up to where they fit") {
  const auto told = [](const char* names, const char* tasks) {
    std::string text;
    stub::node_reader nodes{names, tasks};
    while (nodes.next())
      text += std::string{nodes.name, nodes.name_bytes} + "=" + std::to_string(nodes.tasks) + " ";
    return text;
  };
  CHECK(told("node1", "4") == "node1=4 ");
  CHECK(told("a,b,c", "4(x2),3") == "a=4 b=4 c=3 ");
  CHECK(told("a,b", "4") == "a=4 ");
  CHECK(told("a", "4(x3)") == "a=4 ");
  for (const auto* bad : {"", "x", "(x2)", "4(x", "4(x)", "4(x0)"})
    CHECK(told("a", bad).empty());
  CHECK(told(nullptr, "1").empty());
  CHECK(told("a", nullptr).empty());
  stub::node_reader nodes{"node1,node10", "1(x2)"};
  REQUIRE(nodes.next());
  CHECK(nodes.is("node1"));
  CHECK_FALSE(nodes.is("node10"));
}
