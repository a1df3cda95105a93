#include "swage/scheme/stored_groups.h"

#include <gtest/gtest.h>

namespace swage::scheme {
namespace {

Scheme scheme_of(int bits, std::vector<std::string> targets) {
  Scheme scheme;
  scheme.targets = std::move(targets);
  scheme.weights = QuantizationArgs();
  scheme.weights->num_bits = bits;
  return scheme;
}

const std::vector<ModuleName> kModules = {{"a.q", "Linear"}, {"a.o", "Linear"},  {"b.q", "Linear"},
                                          {"b.o", "Linear"}, {"head", "Linear"}, {"embed", "Embedding"}};

// Bits that each rule finds for each module that is wanted.
void expect_read(const NamedSchemes& groups, const std::map<std::string, int>& bits) {
  const SchemeMatcher by_priority(groups, {});
  const FirstMatcher first(groups);
  for (const ModuleName& module : kModules) {
    const auto wanted = bits.find(module.name);
    if (wanted == bits.end()) continue;
    const Scheme* found = by_priority.find(module);
    ASSERT_NE(found, nullptr) << module.name;
    EXPECT_EQ(found->weights->num_bits, wanted->second) << module.name;
    ASSERT_GE(first.find(module), 0) << module.name;
    EXPECT_EQ(groups[size_t(first.find(module))].second.weights->num_bits, wanted->second) << module.name;
  }
}

NamedSchemes stored(const NamedSchemes& groups, const std::map<std::string, int>& bits) {
  std::map<std::string, size_t> wanted;
  for (const auto& [module, want] : bits) {
    for (size_t i = 0; i < groups.size(); ++i) {
      if (groups[i].second.weights->num_bits == want) wanted[module] = i;
    }
  }
  return stored_groups(groups, kModules, wanted);
}

TEST(StoredGroups, StayAsTheyAreWhereReadersAgree) {
  const NamedSchemes groups = {{"x", scheme_of(4, {"re:a.*"})}, {"y", scheme_of(8, {"Linear"})}};
  EXPECT_EQ(stored(groups, {{"a.q", 4}, {"a.o", 4}, {"b.q", 8}, {"b.o", 8}, {"head", 8}}), groups);
}

TEST(StoredGroups, OverlapsAreStoredInTheOrderOfPriority) {
  const std::map<std::string, int> bits = {{"a.q", 8}, {"a.o", 4}, {"b.q", 2}, {"b.o", 3}};
  const NamedSchemes groups = {{"x", scheme_of(3, {"re:b.*"})},
                               {"y", scheme_of(8, {"re:a.*"})},
                               {"z", scheme_of(4, {"a.o"})},
                               {"v", scheme_of(2, {"b.q", "Embedding"})}};
  const NamedSchemes out = stored(groups, bits);
  expect_read(out, bits);
  EXPECT_EQ(out[0].first, "group_0");
  EXPECT_EQ(out[0].second.targets.size() + out[1].second.targets.size(), 2u) << "exact names come first";
  EXPECT_EQ(out.back().second.targets, std::vector<std::string>{"Embedding"}) << "classes last";
}

TEST(StoredGroups, PatternsInPatternsAreAlphabetical) {
  const std::map<std::string, int> bits = {
      {"a.q", 4}, {"a.o", 4}, {"b.q", 8}, {"b.o", 8}};  // "re:.*" stands before "re:a"
  const NamedSchemes groups = {{"x", scheme_of(8, {"re:[ab].*"})}, {"y", scheme_of(4, {"re:.*a.*"})}};
  expect_read(stored(groups, bits), bits);
  const NamedSchemes other_way = {groups[1], groups[0]};
  expect_read(stored(other_way, bits), bits);
}

// Two modifiers with one target, each with an ignore of its own, which the file has no place for.
TEST(StoredGroups, WhatNoOrderTellsApartIsNamed) {
  const std::map<std::string, int> bits = {{"a.q", 4}, {"a.o", 4}, {"b.q", 8}, {"b.o", 8}};
  expect_read(stored({{"x", scheme_of(4, {"Linear"})}, {"y", scheme_of(8, {"Linear"})}}, bits), bits);
  expect_read(stored({{"x", scheme_of(8, {"Linear"})}, {"y", scheme_of(4, {"Linear"})}}, bits), bits);
  expect_read(stored({{"x", scheme_of(4, {"re:.*q$", "Linear"})}, {"y", scheme_of(8, {"Linear", "re:.*o$"})}}, bits),
              bits);
}

}  // namespace
}  // namespace swage::scheme
