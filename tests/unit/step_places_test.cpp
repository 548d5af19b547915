// SPDX-License-Identifier: Apache-2.0
#include "actors/job/step_places.hpp"
#include "actors/placing.hpp"
#include "catch.hpp"

#include <numeric>

using namespace troupe;
using namespace troupe::actors;

// Where a step goes within its job's allocation.

namespace {

/// Nodes 1, 2, … with so many cores each, numbered from 10 times the node on.
std::vector<placement_part> allocation_of(const std::vector<std::uint32_t>& cores) {
  std::vector<placement_part> parts;
  for (std::uint32_t i = 0; i < cores.size(); ++i) {
    placement_part part;
    part.node = i + 1;
    part.cores.resize(cores[i]);
    std::iota(part.cores.begin(), part.cores.end(), 10 * (i + 1));
    parts.push_back(std::move(part));
  }
  return parts;
}

std::vector<std::uint32_t> ranks_of(const std::optional<std::vector<placement_part>>& placed) {
  std::vector<std::uint32_t> ranks;
  for (const auto& part : placed.value_or(std::vector<placement_part>{}))
    ranks.push_back(part.ranks);
  return ranks;
}

using counts = std::vector<std::uint32_t>;

} // namespace

TEST_CASE("a step fills the first nodes, or is spread over as many as it names") {
  const auto allocation = allocation_of({4, 4, 2});
  const taken_cores none(3);
  CHECK(ranks_of(place_step(allocation, none, {3, 1, 0, {}})) == counts{3, 0, 0});
  CHECK(ranks_of(place_step(allocation, none, {5, 1, 0, {}})) == counts{4, 1, 0});
  CHECK(ranks_of(place_step(allocation, none, {5, 1, 2, {}})) == counts{3, 2, 0});
  CHECK(ranks_of(place_step(allocation, none, {9, 1, 3, {}})) == counts{4, 3, 2});
  CHECK(ranks_of(place_step(allocation, none, {4, 2, 0, {}})) == counts{2, 2, 0});
  CHECK(ranks_of(place_step(allocation, none, {2, 1, 0, {1}})) == counts{0, 2, 0});
}

TEST_CASE("a step gets cores that nobody has, its ranks in order of its nodes") {
  const auto allocation = allocation_of({4, 4});
  const taken_cores taken{{10, 12}, {20}};
  const auto placed = place_step(allocation, taken, {4, 1, 0, {}});
  REQUIRE(placed);
  CHECK((*placed)[0].cores == counts{11, 13});
  CHECK((*placed)[0].rank_first == 0);
  CHECK((*placed)[1].cores == counts{21, 22});
  CHECK((*placed)[1].rank_first == 2);
  CHECK((*placed)[1].node == 2);
}

TEST_CASE("what does not fit gets no place") {
  const auto allocation = allocation_of({4, 4});
  const taken_cores none(2);
  CHECK(!place_step(allocation, none, {9, 1, 0, {}}));
  CHECK(!place_step(allocation, none, {3, 1, 3, {}}));
  CHECK(!place_step(allocation, none, {1, 1, 2, {}}));
  CHECK(!place_step(allocation, none, {1, 5, 0, {}}));
  CHECK(!place_step(allocation, none, {5, 1, 0, {1}}));
  CHECK(!place_step(allocation, {{10, 11, 12, 13}, {}}, {2, 1, 2, {}}));
}

TEST_CASE("ranks that are dealt out go to as many nodes as there are, in turn") {
  const auto allocation = allocation_of({4, 4, 2});
  const taken_cores none(3);
  const auto placed = place_step(allocation, none, {5, 1, 0, {}, map_mode::node});
  REQUIRE(placed);
  CHECK(ranks_of(placed) == counts{2, 2, 1});
  CHECK((*placed)[0].rank_numbers == counts{0, 3});
  CHECK((*placed)[1].rank_numbers == counts{1, 4});
  CHECK((*placed)[2].rank_numbers == counts{2});
  CHECK((*placed)[1].rank_of(1) == 4);
  CHECK(ranks_of(place_step(allocation, none, {2, 1, 0, {}, map_mode::node})) == counts{1, 1, 0});
  CHECK(ranks_of(place_step(allocation, none, {2, 1, 2, {}, map_mode::slot})) == counts{1, 1, 0});
}

TEST_CASE("bindings are told by node, with their ranks where these do not follow each other") {
  auto parts = allocation_of({2, 2});
  for (auto& part : parts)
    part.ranks = 2;
  number_ranks(parts, map_mode::slot);
  CHECK(parts[1].rank_first == 2);
  CHECK(describe_binding("a", parts[0], map_mode::slot) == "a:10,11");
  number_ranks(parts, map_mode::node);
  CHECK(describe_binding("b", parts[1], map_mode::node) == "b:20,21 (tasks 1,3)");
  auto part = allocation_of({4}).front();
  part.cores = {13, 11, 10, 12};
  part.ranks = 2;
  CHECK(describe_binding("c", part, map_mode::core) == "c:10,11");
}
