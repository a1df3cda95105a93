#include "swage/scheme/gptq_awq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <fstream>
#include <sstream>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

namespace fs = std::filesystem;

Json json(const std::string& text) { return parse_json(text, "test"); }

template <class Call>
void expect_error(ErrorKind kind, const std::string& says, Call call) {
  try {
    call();
    ADD_FAILURE() << "no error that says " << says;
  } catch (const Error& error) {
    EXPECT_EQ(name_of(error.kind()), name_of(kind)) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(says));
  }
}

QuantizationArgs args(const std::string& config, const std::string& module = "model.layers.0.mlp.down_proj") {
  return *GptqAwqSchemes(json(config)).find(module).weights;
}

TEST(GptqAwqSchemes, Settings) {
  const QuantizationArgs plain = args(R"({"quant_method": "gptq", "bits": 4})");
  EXPECT_EQ(plain.num_bits, 4);
  EXPECT_EQ(plain.group_size, 128);
  EXPECT_TRUE(plain.symmetric);
  EXPECT_FALSE(plain.actorder);
  const QuantizationArgs sorted =
      args(R"({"quant_method": "GPTQ", "bits": 3, "group_size": 64, "desc_act": true, "sym": false})");
  EXPECT_EQ(sorted.num_bits, 3);
  EXPECT_TRUE(orders_groups(sorted));
  EXPECT_FALSE(sorted.symmetric);
  const QuantizationArgs whole = args(R"({"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": true})");
  EXPECT_EQ(whole.strategy, Strategy::Channel);
  EXPECT_FALSE(orders_groups(whole));
  const QuantizationArgs awq =
      args(R"({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "version": "GEMM", "zero_point": true})");
  EXPECT_EQ(awq.group_size, 64);
  EXPECT_FALSE(awq.symmetric);
  EXPECT_EQ(GptqAwqSchemes(json(R"({"quant_method": "awq", "bits": 4})")).format(), "awq");
  EXPECT_EQ(GptqAwqSchemes(json(R"({"quant_method": "gptq", "bits": 4, "format": "gptq_v2"})")).format(), "gptq_v2");
  EXPECT_EQ(GptqAwqSchemes(json(R"({"quant_method": "gptq", "bits": 5, "checkpoint_format": "gptq_p"})")).format(),
            "gptq_p");
}

TEST(GptqAwqSchemes, TheFirstDynamicEntryThatMatchesCounts) {
  const std::string config = R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {
      "-:.*router": {}, "+:.*down_proj": {"bits": 8, "group_size": 32}, "model\\.layers\\.1\\.": {"sym": false}, ".*": {"desc_act": true}}})";
  EXPECT_EQ(args(config, "model.layers.1.mlp.down_proj").num_bits, 8);
  EXPECT_EQ(args(config, "model.layers.1.mlp.down_proj").group_size, 32);
  EXPECT_TRUE(args(config, "model.layers.1.mlp.down_proj").symmetric);
  EXPECT_FALSE(args(config, "model.layers.1.mlp.up_proj").symmetric);
  EXPECT_TRUE(orders_groups(args(config, "model.layers.2.mlp.up_proj")));
  expect_error(ErrorKind::CorruptData, "a.router stores a qweight, but \"dynamic\"", [&] { args(config, "a.router"); });
}

TEST(GptqAwqSchemes, RefusesWhatMakesNoSense) {
  const auto refused = [](ErrorKind kind, const std::string& fields, const std::string& says) {
    expect_error(kind, says, [&] { GptqAwqSchemes(json("{" + fields + "}")); });
  };
  const std::string gptq = R"("quant_method": "gptq", )", awq = R"("quant_method": "awq", )";
  refused(ErrorKind::CorruptData, gptq + R"("sym": true)", "\"bits\" is missing");
  refused(ErrorKind::CorruptData, gptq + R"("bits": 9)", "bits: expected 2 to 8, found 9");
  refused(ErrorKind::CorruptData, gptq + R"("bits": 5)", "5 bits exist in format gptq_p only");
  refused(ErrorKind::CorruptData, gptq + R"("bits": 4, "group_size": 0)",
          "group_size: expected a positive number or -1, found 0");
  refused(ErrorKind::CorruptData, gptq + R"("bits": 4, "format": "gptq", "checkpoint_format": "gptq_v2")",
          "but checkpoint_format: \"gptq_v2\"");
  refused(ErrorKind::CorruptData, gptq + R"("bits": 4, "dynamic": {".*": 3})",
          "dynamic: .*: expected an object of settings");
  refused(ErrorKind::CorruptData, gptq + R"("bits": 4, "dynamic": {"+:(": {}})",
          "dynamic: pattern \"re:(\"");  // corrupt: dynamic:
  refused(ErrorKind::CorruptData, gptq + R"("bits": 4, "desc_act": "yes")", "desc_act");
  refused(ErrorKind::Unsupported, gptq + R"("bits": 4, "checkpoint_format": "marlin")", "\"marlin\"");
  refused(ErrorKind::Unsupported, gptq + R"("bits": 4, "is_marlin_format": true)", "\"marlin\"");
  refused(ErrorKind::Unsupported, gptq + R"("bits": 4, "pack_dtype": "int8")", "pack_dtype \"int8\"");
  refused(ErrorKind::Unsupported, awq + R"("bits": 4, "version": "gemv")", "\"gemv\"");
  refused(ErrorKind::Unsupported, awq + R"("bits": 8)", "AWQ with 8 bits");
  refused(ErrorKind::Unsupported, awq + R"("bits": 4, "zero_point": false)", "without zero points");
}

TEST(GptqAwqSchemes, DenseShapes) {
  const Scheme three = GptqAwqSchemes(json(R"({"quant_method": "gptq", "bits": 3})")).find("a");
  EXPECT_EQ(dense_shape(three, {12, 64}), (std::vector<int64_t>{64, 128}));
  expect_error(ErrorKind::CorruptData, "does not hold whole codes of 3 bits", [&] { dense_shape(three, {11, 64}); });
  expect_error(ErrorKind::CorruptData, "does not hold whole codes of 3 bits", [&] { dense_shape(three, {12}); });
  EXPECT_EQ(dense_shape(GptqAwqSchemes(json(R"({"quant_method": "awq", "bits": 4})")).find("a"), {128, 8}),
            (std::vector<int64_t>{64, 128}));
}

// What is written is what GPTQModel and AutoAWQ write, key for key; GPTQModel's "meta" speaks of its own run.
TEST(GptqCheckpoint, IsWrittenAsTheLibrariesDo) {
  std::ifstream file(fs::path(SWAGE_TEST_DATA) / "format/gptq/quantize_config.json");
  std::ostringstream text;
  text << file.rdbuf();
  const Json golden = json(text.str());
  for (const auto& [format, config] : golden.at("configs").as_object()) {
    GptqCheckpoint checkpoint;
    checkpoint.format = format;
    checkpoint.settings.sym = config.at("sym").as_bool();
    Json written = to_json(checkpoint, "swage:test"), expected = config;
    EXPECT_EQ(written.at("meta").dump(), R"({"quantizer":["swage:test"]})");
    written.set("meta", Json());
    expected.set("meta", Json());
    EXPECT_EQ(written.dump(2), expected.dump(2));
  }
  EXPECT_EQ(
      to_json(AwqCheckpoint{.group_size = 32, .modules_to_not_convert = {}}).dump(),
      R"({"quant_method":"awq","zero_point":true,"group_size":32,"bits":4,"version":"gemm","modules_to_not_convert":null})");
}

TEST(GptqCheckpoint, DynamicEntriesAreReadBack) {
  GptqCheckpoint checkpoint;
  checkpoint.settings = {.bits = 4, .group_size = 64, .desc_act = false, .sym = false};
  checkpoint.dynamic = {{"^a\\.b$", false, {.bits = 8, .group_size = -1, .desc_act = false, .sym = true}},
                        {"^c$", true, {}}};
  const GptqAwqSchemes schemes(to_json(checkpoint, "swage:test"));
  EXPECT_EQ(schemes.find("a.b").weights->num_bits, 8);
  EXPECT_EQ(schemes.find("a.b").weights->strategy, Strategy::Channel);
  EXPECT_TRUE(schemes.find("a.b").weights->symmetric);
  EXPECT_EQ(schemes.find("a.bb").weights->group_size, 64);
  expect_error(ErrorKind::CorruptData, "leaves it unquantized", [&] { schemes.find("c"); });
}

TEST(GptqAwqSchemes, OldSettingsFiles) {
  const fs::path folder = fs::path(testing::TempDir()) / cat("swage_old_settings_", ::getpid());
  fs::create_directories(folder);
  EXPECT_FALSE(old_settings_file(folder));
  std::ofstream(folder / "quant_config.json")
      << R"({"zero_point": true, "q_group_size": 128, "w_bit": 4, "version": "GEMM"})";
  EXPECT_TRUE(is_gptq_or_awq(*old_settings_file(folder)));
  EXPECT_EQ(GptqAwqSchemes(*old_settings_file(folder)).format(), "awq");
  std::ofstream(folder / "quantize_config.json") << R"({"bits": 4, "group_size": 128, "desc_act": false})";
  EXPECT_EQ(GptqAwqSchemes(*old_settings_file(folder)).format(), "gptq");
  std::ofstream(folder / "quantize_config.json") << "[]";
  expect_error(ErrorKind::CorruptData, "expected an object of settings", [&] { old_settings_file(folder); });
  fs::remove_all(folder);
  EXPECT_FALSE(is_gptq_or_awq(json(R"({"quant_method": "bitsandbytes"})")));
  EXPECT_FALSE(is_gptq_or_awq(json("[]")));
}

}  // namespace
}  // namespace swage::scheme
