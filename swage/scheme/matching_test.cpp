#include "swage/scheme/matching.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/scheme/presets.h"

namespace swage::scheme {
namespace {

using testing::ElementsAre;
const ModuleName kDown{"model.layers.0.mlp.down_proj"};

bool matches(const std::string& pattern, const ModuleName& module) { return Patterns({pattern}).match(module); }

TEST(Patterns, NamesClassesAndExpressions) {
  EXPECT_TRUE(matches("model.layers.0.mlp.down_proj", kDown));
  EXPECT_FALSE(matches("down_proj", kDown));
  EXPECT_TRUE(matches("Linear", kDown));
  EXPECT_FALSE(matches("Embedding", kDown));
  EXPECT_TRUE(matches("re:.*down_proj$", kDown));
  EXPECT_TRUE(matches("re:.*self_attn.(q|k|v|o)_proj$", {"model.layers.3.self_attn.k_proj"}));
}

TEST(Patterns, ExpressionsMatchFromTheStartAndNotToTheEnd) {
  EXPECT_FALSE(matches("re:mlp", kDown));
  EXPECT_TRUE(matches("re:model", kDown));
  EXPECT_FALSE(matches("re:odel", kDown));
}

TEST(Patterns, BestIsExactThenExpressionThenClass) {
  const Patterns all({"Linear", "re:.*down", "re:.*down_proj", "model.layers.0.mlp.down_proj"});
  EXPECT_EQ(all.best(kDown), "model.layers.0.mlp.down_proj");
  EXPECT_EQ(all.best({"model.layers.1.mlp.down_proj"}), "re:.*down");
  EXPECT_EQ(all.best({"model.layers.1.mlp.up_proj"}), "Linear");
  EXPECT_EQ(all.best({"model.embed_tokens", "Embedding"}), "");
}

TEST(Patterns, UnmatchedOnesAreReported) {
  const Patterns all({"lm_head", "re:.*gate$", "Linear", "re:.*down_proj"});
  EXPECT_THAT(all.unmatched({kDown}), ElementsAre("lm_head", "re:.*gate$"));
  EXPECT_THAT(all.unmatched({kDown, {"lm_head"}, {"model.layers.0.mlp.gate"}}), ElementsAre());
}

TEST(Patterns, BadExpressionsAreNamed) {
  for (const std::string bad :
       {"re:(", "re:[a", "re:*", "re:(?P<n>a", "re:(a)\\2", "re:(?<=a*)b", "re:a{99999}", "re:a{1000}{1000}{1000}"}) {
    try {
      Patterns({bad});
      FAIL() << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
      EXPECT_THAT(error.what(), testing::HasSubstr(bad));
    }
  }
  try {
    Patterns({"re:\xff"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(R"(re:\xff)"));  // escaped, as everything that a terminal could obey
  }
  EXPECT_THROW(Patterns({"re:" + std::string(2000, '(') + std::string(2000, ')')}), Error);
}

// What recipes written for Python's `re.match` may hold; the answers are CPython 3.11's.
TEST(Patterns, ExpressionsArePythons) {
  EXPECT_TRUE(matches("re:(?i)MODEL.*DOWN", kDown));
  EXPECT_FALSE(matches("re:MODEL.*DOWN", kDown));
  EXPECT_TRUE(matches("re:(?!.*self_attn).*_proj$", kDown));
  EXPECT_FALSE(matches("re:(?!.*mlp).*_proj$", kDown));
  EXPECT_TRUE(matches("re:.*(?<=mlp\\.)down_proj", kDown));
  EXPECT_FALSE(matches("re:.*(?<!mlp\\.)down_proj", kDown));
  EXPECT_TRUE(matches("re:(?P<part>model)\\.layers\\.\\d+\\.(?:mlp|attn)\\.", kDown));
  EXPECT_TRUE(matches("re:(?P<x>a)b(?P=x)", {"aba"}));
  EXPECT_TRUE(matches("re:model.layers.[0-2].", kDown));
  EXPECT_TRUE(matches("re:^model", kDown));
  EXPECT_FALSE(matches("re:model|mlp$", {"the.model.mlp"}));
  EXPECT_TRUE(matches("re:.{9}$", {"schl\xc3\xbcssel"}));
  EXPECT_TRUE(matches("re:\\w+$", {"schl\xc3\xbcssel"}));
  EXPECT_FALSE(matches("re:.{10}$", {"schl\xc3\xbcssel"}));
  EXPECT_TRUE(matches("re:" + std::string(1500, 'a') + "|model", kDown));
}

// An expression that takes exponential time in a backtracking matcher: 2^40 steps would outlast any test.
// Each takes less than one may, all of them minutes.
TEST(Patterns, ManySlowExpressionsAreBoundedTogether) {
  std::vector<std::string> texts;
  for (int i = 0; i < 1000; ++i) texts.push_back(cat("re:(.*a)(.*a)(.*a)(.*a).*", i, "x|never"));
  const Patterns patterns(texts);
  const std::string name(44, 'a');  // each alone stays below what one may take
  try {
    for (int layer = 0; layer < 14; ++layer) patterns.match({cat(name, layer)});
    FAIL() << "they were all matched";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument);
    EXPECT_NE(std::string(e.what()).find("the patterns take too long together"), std::string::npos) << e.what();
  }
}

// What recipes are made of costs so little that no number of it is refused.
TEST(Patterns, ManyOrdinaryExpressionsAreFine) {
  std::vector<std::string> texts;
  for (int i = 0; i < 2000; ++i) texts.push_back(cat("re:.*layers[.]", i, "[.].*(q|k|v)_proj$"));
  const Patterns patterns(texts);
  for (int layer = 0; layer < 300; ++layer)
    EXPECT_EQ(patterns.match({cat("model.layers.", layer, ".self_attn.q_proj")}), true);
  EXPECT_FALSE(patterns.match({"lm_head"}));
}

TEST(Patterns, NoExpressionHangs) {
  try {
    matches("re:(a+)+$", {std::string(40, 'a') + "b"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::InvalidArgument);
    EXPECT_THAT(error.what(), testing::HasSubstr("re:(a+)+$"));
  }
}

TEST(SchemeMatcher, FollowsTheMostSpecificTargetAndIgnore) {
  Scheme four = preset("W4A16"), eight = preset("W8A8");
  eight.targets = {"re:.*down_proj$"};
  const SchemeMatcher matcher({{"group_0", four}, {"group_1", eight}}, {"lm_head", "re:.*layers.1.*"});
  ASSERT_NE(matcher.find(kDown), nullptr);
  EXPECT_EQ(*matcher.find(kDown), eight);
  EXPECT_EQ(*matcher.find({"model.layers.0.mlp.up_proj"}), four);
  EXPECT_EQ(matcher.find({"lm_head"}), nullptr);
  EXPECT_EQ(matcher.find({"model.layers.1.mlp.down_proj"}), nullptr);
  EXPECT_EQ(matcher.find({"model.embed_tokens", "Embedding"}), nullptr);
}

TEST(SchemeMatcher, OfTwoGroupsWithOneTargetTheLaterCounts) {
  const SchemeMatcher matcher({{"group_0", preset("W4A16")}, {"group_1", preset("W8A16")}}, {});
  EXPECT_EQ(matcher.find(kDown)->weights->num_bits, 8);
}

}  // namespace
}  // namespace swage::scheme
