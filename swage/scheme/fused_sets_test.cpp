#include "swage/scheme/fused_sets.h"

#include <gtest/gtest.h>

namespace swage::scheme {
namespace {

TEST(FusedSet, MembersShareAKeyAndOthersKeepTheirName) {
  const std::string attention = "model.layers.0.self_attn.", mlp = "model.layers.0.mlp.";
  EXPECT_EQ(fused_set(attention + "q_proj"), fused_set(attention + "k_proj"));
  EXPECT_EQ(fused_set(attention + "q_proj"), fused_set(attention + "v_proj"));
  EXPECT_EQ(fused_set(mlp + "gate_proj"), fused_set(mlp + "up_proj"));
  EXPECT_EQ(fused_set("experts.1.w1"), fused_set("experts.1.w3"));
  EXPECT_EQ(fused_set(attention + "q_a_proj"), fused_set(attention + "kv_a_proj_with_mqa"));
  EXPECT_NE(fused_set("model.layers.1.self_attn.q_proj"), fused_set(attention + "q_proj"));
  EXPECT_NE(fused_set("experts.1.w1"), fused_set("experts.2.w1"));
  for (const std::string& name :
       {attention + "o_proj", mlp + "down_proj", std::string("experts.1.w2"), std::string("lm_head")}) {
    EXPECT_EQ(fused_set(name), name);
  }
}

}  // namespace
}  // namespace swage::scheme
