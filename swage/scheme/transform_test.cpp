#include "swage/scheme/transform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

using testing::ElementsAre, testing::HasSubstr;

TransformGroups transforms_in(const char* text) { return parse_transform_config(parse_json(text, "test")); }

// What compressed-tensors fills in where a file says nothing (transform_scheme.py, transform_args.py).
TEST(TransformConfig, DefaultsAreCompressedTensors) {
  const TransformGroups groups = transforms_in(
      R"({"config_groups": {"R4": {"type": "hadamard", "apply": [{"targets": "Linear", "location": "input"}]}}})");
  ASSERT_EQ(groups.size(), 1u);
  const auto& [name, scheme] = groups[0];
  EXPECT_EQ(name, "R4");
  EXPECT_TRUE(scheme.normalised() && scheme.has_online() && !scheme.randomize && !scheme.requires_grad &&
              !scheme.head_dim);
  EXPECT_EQ(scheme.precision, "torch.float32");
  EXPECT_THAT(scheme.apply[0].targets, ElementsAre("Linear"));
  EXPECT_TRUE(scheme.apply[0].ignore.empty() && !scheme.apply[0].inverse);
  EXPECT_TRUE(transforms_in("{}").empty() && transforms_in(R"({"config_groups": {}})").empty() &&
              transforms_in(R"({"config_groups": null})").empty());
  EXPECT_EQ(to_json(TransformGroups()).dump(), "{}");
}

TEST(TransformConfig, IsReadBackAsItWasWritten) {
  TransformGroups groups;
  TransformScheme scheme{.type = "random-matrix",
                         .apply = {{{"re:.*q_proj$", "a"}, TransformLocation::WeightOutput, false, {"b"}}},
                         .randomize = true,
                         .head_dim = 16,
                         .precision = "torch.float64"};
  for (const auto location : {TransformLocation::Output, TransformLocation::WeightInput, TransformLocation::KeyCache,
                              TransformLocation::Queries, TransformLocation::Input}) {
    scheme.apply.push_back({{"Linear"}, location, true, {}});
  }
  groups.emplace_back("u", scheme);
  groups.emplace_back("v", TransformScheme{.type = "hadamard"});
  EXPECT_EQ(parse_transform_config(to_json(groups)), groups);
  EXPECT_FALSE(groups[0].second.normalised());
  EXPECT_FALSE(groups[1].second.has_online());
}

TEST(TransformConfig, WhatMakesNoSenseIsNamed) {
  const auto expect = [](const char* group, ErrorKind kind, const char* part) {
    try {
      parse_transform_config(parse_json(cat(R"({"config_groups": {"G": )", group, "}}"), "test"));
      ADD_FAILURE() << group;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind) << group;
      EXPECT_THAT(e.what(), HasSubstr("G: ")) << group;
      EXPECT_THAT(e.what(), HasSubstr(part)) << group;
    }
  };
  expect(R"({})", ErrorKind::CorruptData, "type");
  expect(R"({"type": "fourier"})", ErrorKind::Unsupported,
         "type \"fourier\": expected hadamard, random-hadamard or random-matrix");
  expect(R"({"type": "hadamard", "seed": 3})", ErrorKind::CorruptData, "unknown key \"seed\"");
  expect(R"({"type": "hadamard", "head_dim": 0})", ErrorKind::CorruptData, "head_dim 0: expected columns, 1 or more");
  expect(R"({"type": "hadamard", "apply": 3})", ErrorKind::CorruptData, "apply: ");
  expect(R"({"type": "hadamard", "apply": [{"location": "input"}]})", ErrorKind::CorruptData, "targets");
  expect(R"({"type": "hadamard", "apply": [{"targets": ["a"]}]})", ErrorKind::CorruptData, "location");
  expect(R"({"type": "hadamard", "apply": [{"targets": ["a"], "location": "bias"}]})", ErrorKind::CorruptData,
         "location \"bias\": expected input, weight_input");
}

TEST(TransformMatcher, FindsWhatIsComputedWhere) {
  const TransformMatcher matcher(transforms_in(R"({"config_groups": {
      "v": {"type": "hadamard", "apply": [{"targets": ["Linear"], "location": "input", "ignore": ["lm_head"]}, {"targets": ["Linear"], "location": "weight_input", "inverse": true}]},
      "R3": {"type": "hadamard", "head_dim": 8, "apply": [{"targets": ["LlamaAttention"], "location": "k_cache", "inverse": true}]}}})"));
  const auto found = matcher.find({"a.q_proj"}, TransformLocation::Input);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->suffix(), "v_input");
  EXPECT_FALSE(found->inverse);
  EXPECT_FALSE(matcher.find({"lm_head"}, TransformLocation::Input));
  EXPECT_FALSE(matcher.find({"a.q_proj"}, TransformLocation::WeightInput));  // it is in the weight
  EXPECT_FALSE(matcher.find({"a.q_proj"}, TransformLocation::Output));
  EXPECT_TRUE(matcher.find({"a", "LlamaAttention"}, TransformLocation::KeyCache)->inverse);
  EXPECT_THAT(matcher.targets_of(TransformLocation::KeyCache), ElementsAre("LlamaAttention"));
  EXPECT_THAT(matcher.stored_suffixes(), ElementsAre("v_input", "R3_k_cache"));
}

TEST(TransformMatcher, TwoAtOnePlaceAreRefused) {
  const TransformMatcher matcher(transforms_in(R"({"config_groups": {
      "v": {"type": "hadamard", "apply": [{"targets": ["Linear"], "location": "input"}]},
      "R4": {"type": "hadamard", "apply": [{"targets": ["re:.*down_proj$"], "location": "input"}]}}})"));
  EXPECT_TRUE(matcher.find({"a.up_proj"}, TransformLocation::Input));
  try {
    matcher.find({"a.down_proj"}, TransformLocation::Input);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    EXPECT_THAT(e.what(), HasSubstr("a.down_proj has two transforms at its input, of v and R4"));
  }
}

}  // namespace
}  // namespace swage::scheme
