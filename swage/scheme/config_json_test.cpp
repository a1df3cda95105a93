#include "swage/scheme/config_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "swage/base/error.h"
#include "swage/scheme/presets.h"

namespace swage::scheme {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json(text.str(), path.string());
}

Json weights_only(const std::string& args, const std::string& top = "") {
  return parse_json(
      R"({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"targets": ["Linear"], "weights": )" +
          args + "}}" + top + "}",
      "test");
}

// checkpoints/ of the repository's selection and of the full set, where it is present.
std::vector<fs::path> checkpoint_roots() {
  std::vector<fs::path> roots = {fs::path(SWAGE_TEST_DATA) / "format" / "checkpoints"};
  const fs::path full = fs::path(SWAGE_FULL_DATA) / "formats" / "vectors" / "checkpoints";
  if (fs::exists(full)) roots.push_back(full);
  for (const fs::path& root : roots) std::cout << "golden files from " << root.string() << "\n";
  return roots;
}

std::vector<fs::path> preset_files() {
  std::vector<fs::path> files = {fs::path(SWAGE_TEST_DATA) / "scheme" / "presets.json"};
  const fs::path full = fs::path(SWAGE_FULL_DATA) / "formats" / "vectors" / "checkpoints" / "presets.json";
  if (fs::exists(full)) files.push_back(full);
  return files;
}

// "W4A8 (pack-quantized)" is W4A8 with that format forced; without the brackets it has the reference's own format.
Scheme golden_scheme(const std::string& name) {
  const size_t bracket = name.find(" (");
  Scheme scheme = preset(name.substr(0, bracket));
  scheme.format =
      bracket == std::string::npos ? default_format(scheme) : name.substr(bracket + 2, name.size() - bracket - 3);
  return scheme;
}

TEST(ConfigJson, PresetsGiveTheGoldenText) {
  for (const fs::path& path : preset_files()) {
    const Json file = read_json(path);
    std::set<std::string> missing = {"INT8", "UNQUANTIZED"};  // another name of W8A8; nothing to write
    for (const std::string& name : preset_names()) missing.insert(name);
    for (const auto& [name, preset] : file.at("presets").as_object()) {
      const Json& golden = preset.at("quantization_config");
      EXPECT_EQ(to_json(config_of(golden_scheme(name), {"lm_head"})).dump(2), golden.dump(2)) << name;
      EXPECT_EQ(to_json(parse_quantization_config(golden)).dump(2), golden.dump(2)) << name;
      missing.erase(name);
    }
    EXPECT_EQ(file.at("presets").as_object().size(), 41u);
    EXPECT_THAT(missing, testing::UnorderedElementsAre("INT8", "UNQUANTIZED"));
  }
}

// What swage writes of its own accord: the reference's choice, or its packed variant.
TEST(ConfigJson, PresetsWithoutAFormatArePackedWhereCodesAreNarrow) {
  const Json presets = read_json(preset_files()[0]).at("presets");
  int packed = 0;
  for (const std::string& name : preset_names()) {
    const std::string forced = name + " (pack-quantized)";
    const bool narrow = presets.find(forced) != nullptr;
    if (name == "INT8" || name == "UNQUANTIZED") continue;
    const Json& golden = presets.at(narrow ? forced : name).at("quantization_config");
    EXPECT_EQ(to_json(config_of(preset(name), {"lm_head"})).dump(2), golden.dump(2)) << name;
    packed += narrow;
  }
  EXPECT_EQ(packed, 10);
}

TEST(ConfigJson, GroupsOfSeveralFormatsKeepTheirOwn) {
  QuantizationConfig config = config_of(preset("NVFP4"), {"lm_head"});
  config.groups[0].second.targets = {"re:.*self_attn.*", "re:.*(gate|up)_proj$"};
  config.groups.emplace_back("group_1", preset("FP8"));
  config.groups[1].second.targets = {"re:.*down_proj$"};
  config.kv_cache_scheme = preset("FP8").weights;
  const Json json = to_json(config);
  EXPECT_EQ(json.get_string("format", ""), "mixed-precision");
  EXPECT_EQ(json.at("config_groups").at("group_0").get_string("format", ""), "nvfp4-pack-quantized");
  EXPECT_EQ(json.at("config_groups").at("group_1").get_string("format", ""), "float-quantized");
  const QuantizationConfig back = parse_quantization_config(json);
  EXPECT_EQ(back.kv_cache_scheme, config.kv_cache_scheme);
  EXPECT_EQ(to_json(back).dump(), json.dump());
}

TEST(ConfigJson, SettingsOfTheObserverAreKept) {
  const Json json = weights_only(R"({"observer": "mse", "observer_kwargs": {"maxshrink": 0.2, "grid": 100}})");
  const QuantizationArgs args = parse_quantization_config(json).groups[0].second.weights.value();
  EXPECT_EQ(args.observer_kwargs.get_int("grid", 0), 100);
  EXPECT_EQ(to_json(args).at("observer_kwargs").dump(), args.observer_kwargs.dump());
}

TEST(ConfigJson, ZeroPointTypesAreWrittenOnlyWhereThereAreZeroPoints) {
  QuantizationArgs args = *preset("W4A16_ASYM").weights;
  args.zp_dtype = "torch.int8";
  EXPECT_EQ(to_json(args).get_string("zp_dtype", ""), "torch.int8");
  args.symmetric = true;
  EXPECT_EQ(to_json(args).find("zp_dtype"), nullptr);
}

TEST(ConfigJson, ReadAndWrittenAgainIsTheGoldenTextOfEveryCheckpoint) {
  for (const fs::path& root : checkpoint_roots()) {
    int compared = 0;
    for (const auto& entry : fs::directory_iterator(root)) {
      if (!entry.is_directory()) continue;
      const Json config = read_json(entry.path() / "config.json");
      const Json* golden = find_quantization_config(config);
      if (!golden) continue;
      EXPECT_EQ(to_json(parse_quantization_config(*golden)).dump(2), golden->dump(2)) << entry.path();
      ++compared;
    }
    EXPECT_GE(compared, 11);
  }
}

// The checkpoints' own groups, built here and not read.
TEST(ConfigJson, SchemesGiveTheGoldenTextOfCheckpoints) {
  const std::vector<std::pair<std::string, std::string>> made = {
      {"w4a16", "W4A16"},         {"w4a16_asym", "W4A16_ASYM"}, {"w8a8", "W8A8"}, {"fp8_dynamic", "FP8_DYNAMIC"},
      {"w4a16-sharded", "W4A16"}, {"w4a16-tied", "W4A16"}};
  for (const fs::path& root : checkpoint_roots()) {
    for (const auto& [folder, name] : made) {
      const Json config = read_json(root / folder / "config.json");
      EXPECT_EQ(to_json(config_of(preset(name), {"lm_head"})).dump(2), find_quantization_config(config)->dump(2))
          << folder;
    }
  }
}

QuantizationArgs read_args(const std::string& args) {
  return *parse_quantization_config(weights_only(args)).groups[0].second.weights;
}

TEST(ConfigJson, LongFormOfOlderVersionsReadsAsTheSlimOne) {
  const std::string slim = R"({"num_bits": 4, "group_size": 32, "strategy": "group"})";
  const std::string verbose =
      R"({"num_bits": 4, "type": "INT", "symmetric": true, "group_size": 32, "strategy": "group",
      "block_structure": null, "dynamic": false, "actorder": null, "scale_dtype": null, "zp_dtype": "torch.int8",
      "observer": null, "observer_kwargs": {}})";
  EXPECT_EQ(read_args(verbose), read_args(slim));
  EXPECT_EQ(read_args(R"({"zp_dtype": "int8", "symmetric": false})").zp_dtype, "torch.int8");
}

TEST(ConfigJson, StrategyFollowsFromTheGroupSize) {
  EXPECT_EQ(read_args(R"({"num_bits": 4})").strategy, Strategy::Tensor);
  EXPECT_EQ(read_args(R"({"num_bits": 4, "group_size": -1})").strategy, Strategy::Channel);
  EXPECT_EQ(read_args(R"({"num_bits": 4, "group_size": -1})").group_size, std::nullopt);
  EXPECT_EQ(read_args(R"({"num_bits": 4, "group_size": 64})").strategy, Strategy::Group);
}

TEST(ConfigJson, BlocksAreReadInBothSpellings) {
  const auto expected = std::pair<int64_t, int64_t>(128, 64);
  EXPECT_EQ(read_args(R"({"type": "float", "strategy": "block", "block_structure": "128x64"})").block_structure,
            expected);
  EXPECT_EQ(read_args(R"({"type": "float", "strategy": "block", "block_structure": [128, 64]})").block_structure,
            expected);
}

TEST(ConfigJson, GroupsWithoutAFormatTakeTheTopLevelOne) {
  const Json json = weights_only(R"({"num_bits": 8, "strategy": "channel"})", R"(, "format": "int-quantized")");
  EXPECT_EQ(parse_quantization_config(json).groups[0].second.format, "int-quantized");
}

TEST(ConfigJson, APresetNameWithTargetsIsAGroup) {
  const Json json =
      parse_json(R"({"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["re:.*up_proj$"]}})", "test");
  const Scheme scheme = parse_quantization_config(json).groups[0].second;
  EXPECT_EQ(scheme.targets, std::vector<std::string>{"re:.*up_proj$"});
  EXPECT_EQ(scheme.weights, preset("W4A16").weights);
}

TEST(ConfigJson, IsFoundUnderItsOldNameAndInsideTextConfig) {
  EXPECT_EQ(find_quantization_config(parse_json(R"({"a": 1})", "test")), nullptr);
  EXPECT_EQ(find_quantization_config(parse_json(R"({"quantization_config": null})", "test")), nullptr);
  EXPECT_EQ(find_quantization_config(parse_json(R"({"compression_config": {"x": 1}})", "test"))->get_int("x", 0), 1);
  EXPECT_EQ(find_quantization_config(parse_json(R"({"text_config": {"quantization_config": {"x": 2}}})", "test"))
                ->get_int("x", 0),
            2);
}

TEST(ConfigJson, ActorderIsWrittenAsGivenAndOnlyWhenSet) {
  Scheme scheme = preset("W4A16");
  EXPECT_EQ(to_json(*scheme.weights).find("actorder"), nullptr);
  for (const char* word : {"static", "weight"}) {
    scheme.weights->actorder = word;
    EXPECT_EQ(to_json(*scheme.weights).get_string("actorder", ""), word);
  }
}

TEST(ConfigJson, SeveralFormatsAreMixedPrecision) {
  QuantizationConfig config = config_of(preset("W4A16"), {});
  config.groups.emplace_back("group_1", preset("W8A8"));
  EXPECT_EQ(to_json(config).get_string("format", ""), "mixed-precision");
  config.groups.clear();
  EXPECT_EQ(to_json(config).get_string("format", ""), "dense");
}

struct Broken {
  const char* json;
  ErrorKind kind;
  const char* says;
};

class BrokenConfig : public testing::TestWithParam<Broken> {};

TEST_P(BrokenConfig, IsRefusedWithTheKeysName) {
  const Broken& broken = GetParam();
  try {
    parse_quantization_config(parse_json(broken.json, "test"));
    FAIL() << "accepted " << broken.json;
  } catch (const Error& error) {
    EXPECT_EQ(name_of(error.kind()), name_of(broken.kind)) << error.what();
    EXPECT_THAT(error.what(), HasSubstr("quantization_config: "));
    EXPECT_THAT(error.what(), HasSubstr(broken.says));
  }
}

#define ARGS(text) R"({"config_groups": {"group_0": {"targets": ["Linear"], "weights": )" text "}}}"
constexpr ErrorKind kCorrupt = ErrorKind::CorruptData, kUnsupported = ErrorKind::Unsupported;
INSTANTIATE_TEST_SUITE_P(
    Files, BrokenConfig,
    testing::Values(
        Broken{"[]", kCorrupt, "expected an object"}, Broken{R"({"bits": 4})", kCorrupt, "quant_method"},
        Broken{R"({"quant_method": "gptq", "bits": 4})", kUnsupported, "\"gptq\""},
        Broken{R"({"quant_method": "awq"})", kUnsupported, "\"awq\""},
        Broken{R"({"quant_method": "compressed-tensors"})", kCorrupt, "config_groups"},
        Broken{R"({"config_groups": []})", kCorrupt, "config_groups: "},
        Broken{R"({"config_groups": {"group_0": 3}})", kCorrupt, "group_0: "},
        Broken{R"({"config_groups": {"group_0": {"weights": null}}})", kCorrupt, "targets"},
        Broken{R"({"config_groups": {"group_0": {"targets": "Linear"}}})", kCorrupt, "targets: "},
        Broken{R"({"config_groups": {"group_0": {"targets": [], "wieghts": null}}})", kCorrupt, "wieghts"},
        Broken{R"({"config_groups": {"group_0": {"targets": [], "format": "mixed-precision"}}})", kCorrupt, "format: "},
        Broken{R"({"config_groups": {"W9A9": ["Linear"]}})", kCorrupt, "W9A9"},
        Broken{R"({"config_groups": {"NVFP4": "Linear"}})", kCorrupt, "NVFP4: "},
        Broken{R"({"config_groups": {}, "ignore": [1]})", kCorrupt, "ignore: "},
        Broken{R"({"config_groups": {}, "kv_cache_scheme": {"foo": 1}})", kCorrupt,
               "kv_cache_scheme: unknown key \"foo\""},
        Broken{R"({"config_groups": {}, "transform_config": {"config_groups": {"R4": {}}}})", kCorrupt,
               "transform_config: R4: \"type\" is missing"},
        Broken{R"({"config_groups": {}, "sparsity_config": {"format": "sparse-coo"}})", kUnsupported, "sparse-coo"},
        Broken{ARGS(R"({"bits": 4})"), kCorrupt, "weights: unknown key \"bits\""},
        Broken{ARGS(R"({"num_bits": "4"})"), kCorrupt, "num_bits"},
        Broken{ARGS(R"({"num_bits": 0})"), kCorrupt, "num_bits: 0 is no width of type int"},
        Broken{ARGS(R"({"num_bits": 99})"), kCorrupt, "num_bits: 99 is no width of type int"},
        Broken{ARGS(R"({"num_bits": 99999999999})"), kCorrupt, "num_bits: 99999999999 is no width"},
        Broken{ARGS(R"({"num_bits": 5, "type": "float"})"), kCorrupt, "num_bits"},
        Broken{ARGS(R"({"type": "posit"})"), kCorrupt, "type: unknown type \"posit\"; known: int, float"},
        Broken{ARGS(R"({"strategy": "row"})"), kCorrupt, "strategy: unknown strategy \"row\""},
        Broken{ARGS(R"({"group_size": 0})"), kCorrupt, "group_size"},
        Broken{ARGS(R"({"strategy": "group"})"), kCorrupt, "group_size"},
        Broken{ARGS(R"({"strategy": "channel", "group_size": 32})"), kCorrupt, "group_size"},
        Broken{ARGS(R"({"strategy": "block"})"), kCorrupt, "block_structure"},
        Broken{ARGS(R"({"strategy": "block", "block_structure": "128"})"), kCorrupt, "block_structure"},
        Broken{ARGS(R"({"strategy": "block", "block_structure": "128x1y"})"), kCorrupt, "block_structure"},
        Broken{ARGS(R"({"strategy": "block", "block_structure": [128, -1]})"), kCorrupt, "block_structure"},
        Broken{ARGS(R"({"strategy": "token"})"), kCorrupt, "dynamic"},
        Broken{ARGS(R"({"strategy": "channel", "dynamic": true})"), kCorrupt, "dynamic"},
        Broken{ARGS(R"({"strategy": "tensor", "dynamic": "local"})"), kCorrupt, "dynamic"},
        Broken{ARGS(R"({"dynamic": "sometimes"})"), kCorrupt, "dynamic"},
        Broken{ARGS(R"({"actorder": "random"})"), kCorrupt, "actorder"},
        Broken{ARGS(R"({"observer": 3})"), kCorrupt, "observer: "},
        Broken{ARGS(R"({"observer_kwargs": 3})"), kCorrupt, "observer_kwargs: "}));

}  // namespace
}  // namespace swage::scheme
