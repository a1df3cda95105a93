#include "swage/base/fields.h"

#include <gtest/gtest.h>

namespace swage {
namespace {

struct Config {
  int64_t block_size = 128;
  double dampening_frac = 0.01;
  std::vector<std::string> ignore;
  std::optional<std::string> actorder;
  template <class V>
  void visit(V& v) {
    v("block_size", block_size, "columns updated together");
    v("dampening_frac", dampening_frac, "damping");
    v("ignore", ignore, "left alone");
    v("actorder", actorder, "order");
  }
};

TEST(Fields, ReadsWhatIsThereAndKeepsDefaults) {
  Config config;
  read_fields(parse_json(R"({"dampening_frac": 1, "ignore": "lm_head"})", "t"), "recipe", config);
  EXPECT_EQ(config.block_size, 128);
  EXPECT_EQ(config.dampening_frac, 1.0);
  EXPECT_EQ(config.ignore, std::vector<std::string>{"lm_head"});
  EXPECT_FALSE(config.actorder.has_value());
}

TEST(Fields, RoundTrips) {
  Config config;
  config.actorder = "static";
  config.ignore = {"a", "b"};
  Config again;
  read_fields(write_fields(config), "t", again);
  EXPECT_EQ(again.actorder, "static");
  EXPECT_EQ(again.ignore, config.ignore);
}

std::string error_of(const char* text) {
  Config config;
  try {
    read_fields(parse_json(text, "t"), "recipe.yaml: GPTQModifier", config);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Fields, UnknownFieldNamesTheNearest) {
  EXPECT_EQ(error_of(R"({"damping_frac": 1, "dampening_farc": 1})"),
            "recipe.yaml: GPTQModifier: unknown field \"damping_frac\"; did you mean \"dampening_frac\"?");
  EXPECT_EQ(error_of(R"({"dampening_farc": 1})"),
            "recipe.yaml: GPTQModifier: unknown field \"dampening_farc\"; did you mean \"dampening_frac\"?");
  EXPECT_EQ(error_of(R"({"zzzzzzzzzzzz": 1})"), "recipe.yaml: GPTQModifier: unknown field \"zzzzzzzzzzzz\"");
}

TEST(Fields, OnlyASlipOfTheHandIsSuggestedFor) {
  const std::vector<std::string> known = {"--data", "--output", "--recipe", "--no", "-o"};
  EXPECT_EQ(nearest_name("--dtaa", known), "--data");
  EXPECT_EQ(nearest_name("--outputs", known), "--output");
  EXPECT_EQ(nearest_name("--verbose", known), "");
  EXPECT_EQ(nearest_name("--bits", known), "");
  EXPECT_EQ(nearest_name("--data", {"--data"}), "") << "what was given is no help";
  EXPECT_EQ(nearest_name("ab", {"xy"}), "") << "two edits leave nothing of it";
  EXPECT_EQ(nearest_name("", known), "");
  EXPECT_EQ(nearest_name("-V", {"-h", "-q"}), "") << "the dash is no letter of the name";
  EXPECT_EQ(nearest_name("-dta", {"-data"}), "-data");
}

TEST(Fields, WrongTypeNamesTheField) {
  EXPECT_EQ(error_of(R"({"block_size": "x"})"),
            "recipe.yaml: GPTQModifier: block_size: expected an integer, found a string");
}

}  // namespace
}  // namespace swage
