#include "swage/recipe/recipe.h"

#include <gtest/gtest.h>

#include "swage/base/error.h"

namespace swage::recipe {
namespace {

constexpr const char* kLlmCompressor = R"(default_stage:
  default_modifiers:
    GPTQModifier:
      targets: [Linear]
      ignore: [lm_head]
      scheme: W4A16
      block_size: 128
      dampening_frac: 0.01
      actorder: static
)";

TEST(Recipe, ReadsLlmCompressorsFile) {
  const Recipe recipe = parse_recipe(kLlmCompressor, "recipe.yaml");
  ASSERT_EQ(recipe.modifiers.size(), 1u);
  EXPECT_EQ(recipe.modifiers[0]->name(), "GPTQModifier");
  const Json config = recipe.modifiers[0]->config();
  EXPECT_EQ(config.get_string("scheme", ""), "W4A16");
  EXPECT_EQ(config.at("ignore").dump(), "[\"lm_head\"]");
}

TEST(Recipe, SavedRecipeReadsBackTheSame) {
  const Recipe recipe = parse_recipe(kLlmCompressor, "recipe.yaml");
  const std::string saved = to_yaml(recipe);
  EXPECT_EQ(to_yaml(parse_recipe(saved, "saved")), saved);
}

std::string error_of(const std::string& text) {
  try {
    parse_recipe(text, "r.yaml");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Recipe, ErrorsNameTheFileThePlaceAndTheNearestName) {
  EXPECT_EQ(error_of("default_stage:\n  default_modifiers:\n    GPTQModifer: {}\n"),
            "r.yaml: default_stage: default_modifiers: swage has no modifier or method \"GPTQModifer\"; did you mean \"GPTQModifier\"?");
  EXPECT_EQ(error_of("default_stage:\n  default_modifiers:\n    GPTQModifier: {shceme: W4A16}\n"),
            "r.yaml: default_stage: default_modifiers: GPTQModifier: unknown field \"shceme\"; did you mean \"scheme\"?");
  EXPECT_EQ(error_of("default_stage:\n  default_modifiers:\n    GPTQModifier: {actorder: sideways}\n"),
            "r.yaml: default_stage: default_modifiers: GPTQModifier: actorder \"sideways\": expected static, group or none");
  EXPECT_EQ(error_of("x: 1"), "r.yaml: \"x\": expected a name that ends in _stage or _modifiers");
  EXPECT_EQ(error_of("{}"), "r.yaml: names no modifier");
}

}  // namespace
}  // namespace swage::recipe
