#include "swage/scheme/module_place.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace swage::scheme {
namespace {

TEST(ModulePlace, LayersAndKindsAreTold) {
  EXPECT_EQ(place_of("model.layers.3.mlp.experts.7.w1").layer, 3);
  EXPECT_EQ(place_of("model.layers.3.mlp.experts.7.w1").kind, "mlp.experts.*.w1");
  EXPECT_EQ(place_of("lm_head").layer, -1);
  EXPECT_EQ(place_of("lm_head").kind, "lm_head");
  EXPECT_EQ(place_of("a.12345678901234567890.b").layer, -1);  // no number that a layer has
  EXPECT_EQ(place_of("").kind, "");
}

TEST(ModulePlace, ModulesComeInTheOrderInWhichTheyRun) {
  const std::vector<std::string> wanted = {"model.embed_tokens",
                                           "model.layers.2.input_layernorm",
                                           "model.layers.2.self_attn.q_proj",
                                           "model.layers.2.self_attn.k_proj",
                                           "model.layers.2.self_attn.v_proj",
                                           "model.layers.2.self_attn.o_proj",
                                           "model.layers.2.post_attention_layernorm",
                                           "model.layers.2.mlp.gate",
                                           "model.layers.2.mlp.experts.2.gate_proj",
                                           "model.layers.2.mlp.experts.2.up_proj",
                                           "model.layers.2.mlp.experts.2.down_proj",
                                           "model.layers.2.mlp.experts.10.gate_proj",
                                           "model.layers.10.self_attn.q_proj",
                                           "model.norm",
                                           "lm_head"};
  std::vector<std::string> sorted = wanted;
  std::sort(sorted.begin(), sorted.end());
  ASSERT_NE(sorted, wanted);
  std::sort(sorted.begin(), sorted.end(), runs_before);
  EXPECT_EQ(sorted, wanted);
}

TEST(ModulePlace, NamesOfEqualNumbersStayApart) {
  EXPECT_TRUE(runs_before("h.01", "h.1") != runs_before("h.1", "h.01"));
  EXPECT_FALSE(runs_before("h.1", "h.1"));
}

}  // namespace
}  // namespace swage::scheme
