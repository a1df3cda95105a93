#include "swage/recipe/recipe.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "swage/base/error.h"
#include "swage/base/yaml.h"
#include "swage/modifiers/chain.h"
#include "swage/recipe/shipped.h"

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
  const Recipe recipe = parse_recipe(
      "default_stage:\n  default_modifiers:\n    GPTQModifier: {scheme: W4A16, batched_quantization: auto, "
      "offload_hessians: null}\n",
      "r.yaml");
  ASSERT_EQ(recipe.warnings.size(), 1u);
  EXPECT_EQ(recipe.warnings[0],
            "r.yaml: default_stage: default_modifiers: GPTQModifier: batched_quantization says how LLM Compressor "
            "runs; it changes nothing here");
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
  const Recipe recipe = parse_recipe(
      "quant_modifiers:\n  QuantizationModifier: {scheme: {W4A16: [\"re:.*mlp.*\"], FP8_DYNAMIC: Linear}}\n", "r.yaml");
  EXPECT_EQ(recipe.modifiers[0]->config().at("config_groups").dump(),
            R"({"W4A16":["re:.*mlp.*"],"FP8_DYNAMIC":["Linear"]})");
}

TEST(Recipe, FrontMatterOfMarkdownAndOldNames) {
  const std::string text =
      "---\nargs: {x: 1}\nquant_modifiers:\n  LogarithmicEqualizationModifier: {}\n  GPTQModifier: {scheme: "
      "W8A8}\n---\n# A model\n";
  const Recipe recipe = parse_recipe(text, "card.md");
  ASSERT_EQ(recipe.modifiers.size(), 2u);
  EXPECT_EQ(recipe.modifiers[0]->config().at("algorithm").as_string(), "log_equalization");
  EXPECT_EQ(recipe.warnings.size(), 1u);
}

TEST(Recipe, TheReadyOnesAreWhole) {
  int read = 0;
  for (const auto& file :
       std::filesystem::directory_iterator(std::filesystem::path(SWAGE_TEST_DATA) / "../../recipes")) {
    SCOPED_TRACE(file.path().filename().string());
    std::ifstream in(file.path());
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(text.rfind("# ", 0), 0u) << "says when to use it";
    EXPECT_EQ(shipped_recipe(file.path().filename().string()), text) << "the program has it";
    const Recipe recipe = parse_recipe(text, file.path().filename().string());
    EXPECT_TRUE(recipe.warnings.empty());
    EXPECT_FALSE(modifiers::make_chain(recipe.modifiers).quantizers.empty());
    ++read;
  }
  EXPECT_GE(read, 12);
  EXPECT_EQ(size_t(read), shipped_recipes().size());
  EXPECT_FALSE(shipped_recipe("w4a61").has_value());
}

// A file that leaves nothing to defaults means the same when they change.
TEST(Recipe, TheSavedOneSpellsOutEveryDefault) {
  const auto saved = [](const std::string& fields) {
    const Recipe recipe = parse_recipe("q_modifiers:\n  " + fields + "\n", "r.yaml");
    const std::string text = to_yaml(recipe);
    EXPECT_EQ(to_yaml(parse_recipe(text, "saved")), text);
    return parse_yaml(text, "saved").at("default_stage").at("default_modifiers").as_object().front().second;
  };
  const Json gptq = saved("GPTQModifier: {scheme: W4A16}");
  EXPECT_EQ(
      gptq.dump(),
      R"({"targets":["Linear"],"ignore":[],"scheme":"W4A16","group_size":128,"symmetric":true,"bypass_divisibility_checks":false,)"
      R"("dampening_frac":0.01,"actorder":"static","scale_search":"imatrix","norm":2,"quality":"balanced","sweeps":2,"refit_scales":true,)"
      R"("target":"weights","config_groups":null,"kv_cache_scheme":null,"weight_observer":null,"input_observer":null,"output_observer":null,)"
      R"("observer":null,"target_bits":null,"target_size":null,"candidates":null,"block_size":null})");
  const Json budget = saved("GPTQModifier: {target_bits: 4.25}");
  EXPECT_EQ(budget.at("candidates").dump(), R"(["W3A16","W4A16","W5A16","W6A16","W8A16"])");
  EXPECT_EQ(budget.at("norm").dump(), R"({"3":2.4,"8":2})");
  EXPECT_EQ(budget.at("sweeps").dump(), R"({"3":3,"8":2})");
  const Json rtn = saved("QuantizationModifier: {scheme: W4A16_ASYM}");
  EXPECT_EQ(rtn.at("scale_search").as_string(), "absmax");
  EXPECT_FALSE(rtn.at("symmetric").as_bool());
  const Json observed = saved("QuantizationModifier: {scheme: W4A16, weight_observer: mse}");
  EXPECT_TRUE(observed.at("scale_search").is_null()) << "it would count before the observer";
  const Json ordered = saved(
      "GPTQModifier: {config_groups: {g: {targets: [Linear], weights: {num_bits: 4, group_size: 32, actorder: "
      "group}}}}");
  EXPECT_EQ(ordered.find("actorder"), nullptr) << "null would mean none, and static would contradict the group";
}

TEST(Recipe, FieldsBesideItCountBeforeItsOwn) {
  const char* text = "q_modifiers:\n  AWQModifier: {}\n  QuantizationModifier: {scheme: W4A16, ignore: [lm_head]}\n";
  const Recipe recipe =
      parse_recipe(text, "r.yaml", parse_json(R"({"group_size": 32, "ignore": ["a"], "n_grid": 5})", "t"));
  EXPECT_EQ(recipe.modifiers[0]->config().get_int("n_grid", 0), 5);
  EXPECT_EQ(recipe.modifiers[0]->config().at("ignore").dump(), "[]") << "of AWQ they are layers to divide";
  EXPECT_EQ(recipe.modifiers[1]->config().get_int("group_size", 0), 32);
  EXPECT_EQ(recipe.modifiers[1]->config().at("ignore").dump(), R"(["a"])");
  EXPECT_THROW(parse_recipe(text, "r.yaml", parse_json(R"({"sparsity": 0.5})", "t")), Error);
}

TEST(Recipe, SettingsOfTheRunAreKept) {
  Recipe recipe = parse_recipe(kLlmCompressor, "recipe.yaml");
  recipe.run.set("seed", 3);
  recipe.run.set("data", "calib.jsonl");
  const Recipe again = parse_recipe(to_yaml(recipe), "saved");
  EXPECT_EQ(again.run.dump(), R"({"seed":3,"data":"calib.jsonl"})");
  EXPECT_THROW(parse_recipe(std::string(kLlmCompressor) + "swage: {sead: 3}\n", "recipe.yaml"), Error);
  const std::string modifiers(kLlmCompressor);
  EXPECT_THROW(parse_recipe(modifiers + "swage: {max_shard_size: -1}\n", "recipe.yaml"), Error);
  EXPECT_THROW(parse_recipe(modifiers + "swage: {max_shard_bytes: -1}\n", "recipe.yaml"), Error);
  EXPECT_EQ(parse_recipe(modifiers + "swage: {max_shard_size: 2}\n", "recipe.yaml").run.dump(),
            R"({"max_shard_size":2})");
  EXPECT_EQ(parse_recipe(modifiers + "swage: {max_shard_bytes: 100}\n", "recipe.yaml").run.dump(),
            R"({"max_shard_size":"100B"})")
      << "as earlier builds saved it";
}

// Every field of the models that LLM Compressor's modifiers are (bench/llmcompressor_fields.py), as a saved recipe may
// have it.
TEST(Recipe, EveryFieldOfLlmCompressorsModifiersIsAccepted) {
  std::ifstream in(std::filesystem::path(SWAGE_TEST_DATA) / "llmcompressor_fields.json");
  const Json list = parse_json(std::string((std::istreambuf_iterator<char>(in)), {}), "llmcompressor_fields.json");
  size_t fields = 0;
  for (const auto& [name, names] : list.at("modifiers").as_object()) {
    if (name == "AutoRoundModifier") continue;  // swage has none
    SCOPED_TRACE(name);
    const auto rows = modifiers::modifier_table();
    const auto row = std::find_if(rows.begin(), rows.end(),
                                  [&, &modifier = name](const auto& known) { return known.name == modifier; });
    ASSERT_NE(row, rows.end());
    for (const Json& field : names.as_array()) {
      EXPECT_TRUE(modifiers::is_accepted_field(*row, field.as_string())) << field.as_string();
      ++fields;
    }
    EXPECT_FALSE(modifiers::is_accepted_field(*row, "no_such_field"));
  }
  EXPECT_GE(fields, 150u);
}

TEST(Recipe, EnumeratorsAsPyYamlWritesThemAreTheirValues) {
  const Recipe recipe = parse_recipe(
      "q_modifiers:\n  QuantizationModifier:\n    config_groups:\n      group_0:\n        targets: [Linear]\n        "
      "weights:\n"
      "          num_bits: 4\n          type: "
      "!!python/object/apply:compressed_tensors.quantization.quant_args.QuantizationType [int]\n",
      "r.yaml");
  EXPECT_EQ(recipe.modifiers[0]->config().at("config_groups").at("group_0").at("weights").at("type").as_string(),
            "int");
  const Recipe awq = parse_recipe(
      "q_modifiers:\n  AWQModifier:\n    offload_device: !!python/object/apply:llmcompressor.sentinel.Sentinel "
      "[not_provided, /x.py]\n",
      "r.yaml");
  EXPECT_TRUE(awq.warnings.empty());
}

TEST(Recipe, AGptqModifierTakesTheSchemeOfAQuantizationModifier) {
  const Recipe recipe = parse_recipe(
      "test_stage:\n  run_type: oneshot\n  quant_modifiers:\n    QuantizationModifier: {ignore: [lm_head], targets: "
      "[Linear], scheme: W8A8, requires_calibration_data: false}\n"
      "    GPTQModifier: {block_size: 64, targets: [Linear], ignore: [], requires_calibration_data: true}\n",
      "r.yaml");
  ASSERT_EQ(recipe.modifiers.size(), 1u);
  EXPECT_EQ(recipe.modifiers[0]->name(), "GPTQModifier");
  EXPECT_EQ(recipe.modifiers[0]->config().at("scheme").as_string(), "W8A8");
  EXPECT_EQ(recipe.modifiers[0]->config().at("ignore").dump(), R"(["lm_head"])");
  EXPECT_EQ(recipe.modifiers[0]->config().at("block_size").as_int(), 64);
}

// After its run LLM Compressor saves the matrices beside the rotations that they follow from.
TEST(Recipe, ASavedTransformConfigRepeatsItsRotations) {
  const Recipe recipe = parse_recipe(
      "default_stage:\n  default_modifiers:\n    SpinQuantModifier:\n      rotations: [R1, R2]\n      precision: "
      "torch.float64\n      transform_config: {config_groups: {R1: {type: hadamard}}}\n"
      "    QuantizationModifier: {scheme: W4A16}\n",
      "r.yaml");
  EXPECT_TRUE(recipe.modifiers[0]->config().find("transform_config") == nullptr);
  ASSERT_EQ(recipe.warnings.size(), 1u);
  EXPECT_NE(recipe.warnings[0].find("transform_config"), std::string::npos);
}

TEST(Recipe, StagesOfRunsThatFollowedEachOtherAreAllRead) {
  const Recipe recipe = parse_recipe(
      "default_stage_0:\n  default_modifiers:\n    SparseGPTModifier: {sparsity: 0.5}\ndefault_stage_1:\n  "
      "default_modifiers:\n    GPTQModifier: {scheme: W4A16}\nversion: 1.2\n",
      "r.yaml");
  ASSERT_EQ(recipe.modifiers.size(), 2u);
  EXPECT_EQ(recipe.warnings, std::vector<std::string>{"r.yaml: version: no part of a recipe; it changes nothing"});
}

std::string error_of(const std::string& text) {
  try {
    parse_recipe(text, "r.yaml");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

// Between two lines "---" in a file of YAML stands a document, and behind them another one.
TEST(Recipe, ASecondDocumentIsRefused) {
  const std::string stage = "a_stage:\n  b_modifiers:\n    QuantizationModifier: {scheme: W8A16}\n";
  EXPECT_NE(error_of("---\n" + stage + "---\n" + stage).find("a second document begins on line 6"), std::string::npos);
  EXPECT_EQ(parse_recipe("---\n" + stage + "---\n", "r.yaml").modifiers.size(), 1u);
}

TEST(Recipe, ErrorsNameTheFileThePlaceAndTheNearestName) {
  EXPECT_EQ(error_of("default_stage:\n  default_modifiers:\n    GPTQModifer: {}\n"),
            "r.yaml: default_stage: default_modifiers: swage has no modifier or method \"GPTQModifer\"; did you mean "
            "\"GPTQModifier\"?");
  EXPECT_EQ(
      error_of("default_stage:\n  default_modifiers:\n    GPTQModifier: {shceme: W4A16}\n"),
      "r.yaml: default_stage: default_modifiers: GPTQModifier: unknown field \"shceme\"; did you mean \"scheme\"?");
  EXPECT_EQ(
      error_of("default_stage:\n  default_modifiers:\n    GPTQModifier: {actorder: sideways}\n"),
      "r.yaml: default_stage: default_modifiers: GPTQModifier: actorder \"sideways\": expected static, group or none");
  EXPECT_EQ(
      error_of("q_modifiers:\n  QuantizationModifier: {scheme: W8A8, ignore: [a]}\n  GPTQModifier: {ignore: [b]}\n"),
      "r.yaml: q_modifiers: QuantizationModifier and GPTQModifier both give ignore, and GPTQModifier has no scheme of "
      "its own; give it one, or leave ignore out of one of them");
  EXPECT_EQ(error_of("x: {y: 1}"), "r.yaml: \"x\": expected a name that ends in _stage or _modifiers");
  EXPECT_EQ(error_of("x: 1"), "r.yaml: names no modifier");
  EXPECT_EQ(error_of("{}"), "r.yaml: names no modifier");
}

}  // namespace
}  // namespace swage::recipe
