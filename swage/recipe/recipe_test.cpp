#include "swage/recipe/recipe.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "swage/base/error.h"
#include "swage/modifiers/chain.h"

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

TEST(Recipe, FieldsThatSayHowAnotherToolRunsAreWarnings) {
  const Recipe recipe = parse_recipe("default_stage:\n  default_modifiers:\n    GPTQModifier: {scheme: W4A16, batched_quantization: auto, offload_hessians: null}\n", "r.yaml");
  ASSERT_EQ(recipe.warnings.size(), 1u);
  EXPECT_EQ(recipe.warnings[0],
            "r.yaml: default_stage: default_modifiers: GPTQModifier: batched_quantization says how LLM Compressor runs; it changes nothing here");
}

TEST(Recipe, OneModifierInTwoStagesIsSavedTwice) {
  const std::string text =
      "a_stage:\n  quant_modifiers:\n    GPTQModifier: {targets: [\"re:.*mlp.*\"], scheme: W4A16}\n"
      "b_stage:\n  quant_modifiers:\n    GPTQModifier: {targets: [\"re:.*attn.*\"], scheme: W8A8}\n";
  const Recipe again = parse_recipe(to_yaml(parse_recipe(text, "r.yaml")), "saved");
  ASSERT_EQ(again.modifiers.size(), 2u);
  EXPECT_EQ(again.modifiers[0]->config().at("scheme").as_string(), "W4A16");
  EXPECT_EQ(again.modifiers[1]->config().at("scheme").as_string(), "W8A8");
}

TEST(Recipe, PresetsByTargetsAreConfigGroups) {
  const Recipe recipe = parse_recipe("quant_modifiers:\n  QuantizationModifier: {scheme: {W4A16: [\"re:.*mlp.*\"], FP8_DYNAMIC: Linear}}\n", "r.yaml");
  EXPECT_EQ(recipe.modifiers[0]->config().at("config_groups").dump(), R"({"W4A16":["re:.*mlp.*"],"FP8_DYNAMIC":["Linear"]})");
}

TEST(Recipe, FrontMatterOfMarkdownAndOldNames) {
  const std::string text = "---\nargs: {x: 1}\nquant_modifiers:\n  LogarithmicEqualizationModifier: {}\n  GPTQModifier: {scheme: W8A8}\n---\n# A model\n";
  const Recipe recipe = parse_recipe(text, "card.md");
  ASSERT_EQ(recipe.modifiers.size(), 2u);
  EXPECT_EQ(recipe.modifiers[0]->config().at("algorithm").as_string(), "log_equalization");
  EXPECT_EQ(recipe.warnings.size(), 1u);
}

TEST(Recipe, TheReadyOnesAreWhole) {
  int read = 0;
  for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(SWAGE_TEST_DATA) / "../../recipes")) {
    SCOPED_TRACE(file.path().filename().string());
    std::ifstream in(file.path());
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(text.rfind("# ", 0), 0u) << "says when to use it";
    const Recipe recipe = parse_recipe(text, file.path().filename().string());
    EXPECT_TRUE(recipe.warnings.empty());
    EXPECT_FALSE(modifiers::make_chain(recipe.modifiers).quantizers.empty());
    ++read;
  }
  EXPECT_GE(read, 12);
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
