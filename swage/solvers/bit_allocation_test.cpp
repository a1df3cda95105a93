#include "swage/solvers/bit_allocation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "swage/base/error.h"

namespace swage::solvers {
namespace {

using Units = std::vector<std::vector<BitOption>>;

// The least cost of all choices that fit, tried one by one.
double least_cost(const Units& units, int64_t budget, size_t u = 0) {
  if (u == units.size()) return 0;
  double best = std::numeric_limits<double>::infinity();
  for (const BitOption& option : units[u]) {
    if (option.bytes <= budget) best = std::min(best, option.cost + least_cost(units, budget - option.bytes, u + 1));
  }
  return best;
}

int64_t smallest(const Units& units) {
  int64_t sum = 0;
  for (const auto& options : units) {
    sum += std::min_element(options.begin(), options.end(), [](const BitOption& a, const BitOption& b) {
             return a.bytes < b.bytes;
           })->bytes;
  }
  return sum;
}

// Options that cost less the larger they are, with some that no budget wants.
Units random_units(std::mt19937& random, size_t count) {
  std::uniform_real_distribution<double> share(0, 1);
  Units units(count);
  for (auto& options : units) {
    const int64_t size = 1 + int64_t(random() % 40);
    const double weight = std::exp(4 * share(random) - 2);
    for (const int bits : {3, 4, 5, 8})
      options.push_back({size * bits, weight * std::pow(4.0, -bits) * (0.5 + share(random))});
    if (random() % 3 == 0) std::swap(options[0], options[2]);
  }
  return units;
}

void expect_consistent(const Units& units, int64_t budget, const BitAllocation& found) {
  ASSERT_EQ(found.chosen.size(), units.size());
  int64_t bytes = 0;
  double cost = 0;
  for (size_t u = 0; u < units.size(); ++u) {
    bytes += units[u][size_t(found.chosen[u])].bytes;
    cost += units[u][size_t(found.chosen[u])].cost;
  }
  EXPECT_EQ(found.bytes, bytes);
  EXPECT_DOUBLE_EQ(found.cost, cost);
  EXPECT_LE(bytes, budget);
  EXPECT_LE(found.bound, cost);
}

TEST(AllocateBits, IsAsCheapAsTheBestOfAllChoices) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const Units units = random_units(random, 1 + random() % 7);
    const int64_t budget = smallest(units) + int64_t(random() % 400);
    const BitAllocation found = allocate_bits(units, budget);
    expect_consistent(units, budget, found);
    EXPECT_TRUE(found.optimal);
    EXPECT_NEAR(found.cost, least_cost(units, budget), 1e-12 * (1 + found.cost));
  }
}

TEST(AllocateBits, TakesTheSmallestOptionsWhereNothingElseFitsAndTheBestWhereAllDo) {
  const Units units = {{{10, 4}, {20, 1}}, {{30, 9}, {10, 16}, {50, 2}}};
  EXPECT_THAT(allocate_bits(units, 20).chosen, testing::ElementsAre(0, 1));
  EXPECT_THAT(allocate_bits(units, 1000).chosen, testing::ElementsAre(1, 2));
}

TEST(AllocateBits, LeavesOutLargerOptionsThatCostMore) {
  const Units units = {{{10, 1}, {20, 2}}, {{10, 1}, {20, 1}}};
  const BitAllocation found = allocate_bits(units, 1000);
  EXPECT_THAT(found.chosen, testing::ElementsAre(0, 0));
  EXPECT_EQ(found.bytes, 20);
}

// With a table of one state the choice still fits, and the bound says how far it can be from the best one.
TEST(AllocateBits, ACutTableGivesAChoiceBetweenBoundAndBudget) {
  std::mt19937 random(12);
  int cut = 0;
  for (int round = 0; round < 100; ++round) {
    const Units units = random_units(random, 7);
    const int64_t budget = smallest(units) + int64_t(random() % 400);
    const BitAllocation found = allocate_bits(units, budget, {.most_states = 1});
    expect_consistent(units, budget, found);
    const double best = least_cost(units, budget);
    EXPECT_GE(found.cost, best * (1 - 1e-12));
    EXPECT_LE(found.bound, best * (1 + 1e-12));
    cut += !found.optimal;
  }
  EXPECT_GT(cut, 10);
}

// 320 units of a few shapes, as a model of 80 layers has them, are solved to the end with the default table.
TEST(AllocateBits, ALargeModelIsSolvedToTheEnd) {
  std::mt19937 random(13);
  std::uniform_real_distribution<double> share(0, 1);
  Units units;
  int64_t weights = 0;
  for (int u = 0; u < 320; ++u) {
    const int64_t size = std::array<int64_t, 4>{83886080, 67108864, 469762048, 234881024}[size_t(u % 4)];
    const double weight = std::exp(3 * share(random));
    weights += size;
    auto& options = units.emplace_back();
    for (const int bits : {2, 3, 4, 5, 6, 8})
      options.push_back({size * (4 * bits + 1) / 32 + 16, weight * std::pow(4.0, -bits)});
  }
  const BitAllocation found = allocate_bits(units, weights * 4 / 8);
  EXPECT_TRUE(found.optimal);
  expect_consistent(units, weights * 4 / 8, found);
  EXPECT_EQ(allocate_bits(units, weights * 4 / 8).chosen, found.chosen);
}

TEST(AllocateBits, RefusesWhatCannotBeSolved) {
  EXPECT_THROW(allocate_bits({{{10, 1}}, {}}, 100), Error);
  EXPECT_THROW(allocate_bits({{{10, 1}}, {{20, 1}}}, 29), Error);
  EXPECT_THROW(allocate_bits({{{10, std::nan("")}}}, 100), Error);
  EXPECT_THROW(allocate_bits({{{-1, 1}}}, 100), Error);
  EXPECT_THROW(allocate_bits({{{10, 1}}}, 100, {.most_states = 0}), Error);
}

}  // namespace
}  // namespace swage::solvers
