#include "swage/scheme/consumers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "swage/base/error.h"
#include "swage/scheme/presets.h"

namespace swage::scheme {
namespace {

std::string refusal(const std::string& reader, const std::string& preset, const std::string& actorder = "") {
  try {
    check_consumer(parse_consumer(reader), preset, actorder);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    return e.what();
  }
  return {};
}

// A row for a preset that is not there would never be found; a word that is not one of these would be shown as it is.
TEST(Consumers, TheMatrixSpeaksOfPresetsInItsOwnWords) {
  const std::vector<std::string> names = preset_names();
  const std::set<std::string> words = {"equal", "loaded", "refused", "not run"};
  for (const Json& row : consumer_matrix().at("schemes").as_array()) {
    const std::string name = row.at("scheme").as_string();
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
    for (const char* reader : {"transformers", "vllm"}) {
      EXPECT_TRUE(words.contains(row.at(reader).as_string())) << name;
      EXPECT_EQ(row.get_string(reader, "") == "refused", row.find(std::string(reader) + "_note") != nullptr) << name;
    }
  }
}

TEST(Consumers, WhatIsChosenForAReaderIsTakenByIt) {
  for (const Json& choice : consumer_matrix().at("choices").as_array()) {
    const Consumer consumer = parse_consumer(choice.at("for").as_string());
    EXPECT_EQ(refusal(choice.at("for").as_string(), consumer.scheme), "");
  }
}

TEST(Consumers, WhatAReaderDoesNotTakeIsRefusedWithWhatWouldDo) {
  EXPECT_NE(refusal("vllm:ampere", "fp8_dynamic").find("8.9; use --scheme W4A16"), std::string::npos);
  EXPECT_NE(refusal("transformers", "W4A16_ASYM").find("use --scheme W4A16"), std::string::npos);
  EXPECT_NE(refusal("vllm:cpu", "W8A16").find("no CPU kernel"), std::string::npos);
  EXPECT_NE(refusal("vllm", "W4A16", "group").find("use --actorder static"), std::string::npos);
  EXPECT_EQ(refusal("vllm", "W4A16_ASYM"), "");
  EXPECT_THROW(parse_consumer("llama.cpp"), Error);
  EXPECT_THROW(parse_consumer("vllm:abacus"), Error);
}

TEST(Consumers, FilesThatReadersRefuseAreWarnedOf) {
  EXPECT_TRUE(consumer_warnings(preset("W4A16")).empty());
  EXPECT_TRUE(consumer_warnings(preset("FP8_DYNAMIC")).empty());
  EXPECT_EQ(consumer_warnings(preset("W4A16_ASYM")).size(), 1u);
  Scheme grouped = preset("W4A16");
  grouped.weights->actorder = "group";
  ASSERT_EQ(consumer_warnings(grouped).size(), 1u);
  EXPECT_NE(consumer_warnings(grouped)[0].find("0.19"), std::string::npos);
}

TEST(Consumers, FilesOfAFamilyThatReadersRefuseAreWarnedOf) {
  const std::vector<std::string> dense = {"model.layers.0.mlp.up_proj"},
                                 expert = {"model.layers.0.mlp.experts.3.up_proj"};
  EXPECT_TRUE(family_warnings("llama", preset("W4A16"), dense).empty());
  EXPECT_TRUE(family_warnings("qwen3_moe", preset("W4A16"), expert).empty());
  EXPECT_TRUE(family_warnings("gpt_oss", preset("W4A16"), dense).empty());
  EXPECT_TRUE(family_warnings("falcon", preset("W8A8"), dense).empty());
  EXPECT_EQ(family_warnings("falcon", preset("W4A16"), dense).size(), 1u);
  EXPECT_EQ(family_warnings("qwen3_moe", preset("W8A8"), expert).size(), 1u);
  ASSERT_EQ(family_warnings("gpt_oss", preset("W4A16"), expert).size(), 1u);
  EXPECT_NE(family_warnings("gpt_oss", preset("W4A16"), expert)[0].find("random"), std::string::npos);
}

}  // namespace
}  // namespace swage::scheme
