#include "swage/model/moe.h"

#include <gtest/gtest.h>

#include "swage/model/decoder_model.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

// Each token sent to its experts one by one.
TEST(Route, SlicesHoldEachExpertsTokens) {
  at::manual_seed(21);
  const at::Tensor x_TD = at::randn({13, 6}), router_ED = at::randn({5, 6});
  Flow flow{.mlp_input_TD = x_TD};
  graph::ExpertsNode rules{.top_k = 2};
  route(flow, {.weight_ED = router_ED, .rules = &rules});
  const at::Tensor shares_TE = at::softmax(x_TD.mm(router_ED.t()), -1);
  EXPECT_TRUE(at::allclose(flow.expert_weights_TK.sum(-1), at::ones({13})));
  int64_t seen = 0;
  for (int e = 0; e < 5; ++e) {
    const at::Tensor rows = flow.rows_of_expert(e);
    EXPECT_TRUE(at::equal(rows, (flow.expert_ids_TK == e).any(1).nonzero().view({-1}))) << "expert " << e;
    for (int64_t i = 0; i < rows.size(0); ++i) {
      const int64_t t = rows[i].item<int64_t>();
      const double best = std::get<0>(shares_TE[t].topk(2)).sum().item<double>();
      const double weight = flow.routed_weights[flow.routed_offsets[e] + i].item<double>();
      EXPECT_NEAR(weight, shares_TE[t][e].item<double>() / best, 1e-6);
    }
    seen += rows.size(0);
  }
  EXPECT_EQ(seen, 26);
  Flow plain{.mlp_input_TD = x_TD};
  rules.renormalise = false;
  route(plain, {.weight_ED = router_ED, .rules = &rules});
  EXPECT_TRUE(at::allclose(plain.expert_weights_TK.sum(-1), std::get<0>(shares_TE.topk(2)).sum(-1)));
}

class MoeBlock : public testing::Test {
 protected:
  void SetUp() override {
    const auto folder = parity_folder("mixtral");
    const MapSource weights(read_safetensors(folder / "model.safetensors"));
    model_ = make_model(parse_json(read_text(folder / "config.json"), "config.json"), weights);
    model_->load_ends(weights);
    block_ = model_->load_block(0, weights);
    hidden_TD_ = model_->embed(read_safetensors(folder / "io.safetensors").at("input_ids")[0], 0);
  }
  std::unique_ptr<Model> model_;
  std::unique_ptr<Block> block_;
  at::Tensor hidden_TD_;
};

TEST_F(MoeBlock, StagesAreNamedAndGroupedByExpert) {
  ASSERT_EQ(block_->stages.size(), 3u + 4u);
  EXPECT_EQ(block_->stages[2].name, "mlp input");
  EXPECT_EQ(block_->stages[2].groups.size(), 4u);
  EXPECT_EQ(block_->stages[2].groups[3].expert, 3);
  EXPECT_EQ(block_->stages[4].name, "expert 1 output");
  const int down = block_->stages[4].groups[0].linears[0];
  EXPECT_EQ(block_->linears[static_cast<size_t>(down)].name, "model.layers.0.block_sparse_moe.experts.1.w2");
  EXPECT_EQ(block_->stages[4].groups[0].expert, 1);
}

// Routed: an expert's down projection reads its own tokens. All tokens: it reads the product of every token, and the
// routed rows of that are the same.
TEST_F(MoeBlock, ExpertInputsWithAndWithoutRouting) {
  Flow routed{.hidden_TD = hidden_TD_.clone()}, all{.hidden_TD = hidden_TD_.clone(), .all_tokens_to_experts = true};
  block_->begin(routed);
  block_->begin(all);
  for (int s = 0; s < 7; ++s) {
    if (s == 2) {
      EXPECT_TRUE(at::equal(routed.input_TI, all.input_TI));
      EXPECT_TRUE(routed.rows_of_expert(1).defined());
      EXPECT_FALSE(all.rows_of_expert(1).defined());
    }
    if (s >= 3) {
      EXPECT_EQ(all.input_TI.size(0), hidden_TD_.size(0));
      EXPECT_FALSE(routed.rows_of_expert(s - 3).defined());
      const at::Tensor rows = all.routed_rows_of(s - 3);
      EXPECT_LE(relative_error(routed.input_TI, all.input_TI.index_select(0, rows)), 1e-6);  // another GEMM blocking
    }
    block_->step(s, routed);
    block_->step(s, all);
  }
  EXPECT_LE(relative_error(routed.hidden_TD, all.hidden_TD), 1e-6);
  EXPECT_FALSE(all.mlp_input_TD.defined() || all.accumulated_TD.defined() || all.input_TI.defined());
}

TEST_F(MoeBlock, AnExpertWithoutTokensIsSkipped) {
  Flow flow{.hidden_TD = hidden_TD_.narrow(0, 0, 1).clone()};
  block_->begin(flow);
  int empty = 0;
  for (int s = 0; s < 7; ++s) {
    if (s >= 3 && flow.input_TI.size(0) == 0) {
      EXPECT_EQ(flow.input_TI.size(1), 64);
      ++empty;
    }
    block_->step(s, flow);
  }
  EXPECT_EQ(empty, 2);  // one token has two of the four experts
}

// Fused experts of a Mixtral are presented under the checkpoint names.
TEST_F(MoeBlock, FusedMixtralGivesTheSame) {
  const auto folder = parity_folder("mixtral");
  TensorMap tensors = read_safetensors(folder / "model.safetensors");
  for (int layer = 0; layer < 3; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    std::vector<at::Tensor> gate_up, down;
    for (int e = 0; e < 4; ++e) {
      const std::string expert = prefix + "block_sparse_moe.experts." + std::to_string(e);
      gate_up.push_back(at::cat({tensors.at(expert + ".w1.weight"), tensors.at(expert + ".w3.weight")}));
      down.push_back(tensors.at(expert + ".w2.weight"));
      for (const char* name : {".w1.weight", ".w2.weight", ".w3.weight"}) tensors.erase(expert + name);
    }
    tensors[prefix + "mlp.experts.gate_up_proj"] = at::stack(gate_up);
    tensors[prefix + "mlp.experts.down_proj"] = at::stack(down);
    tensors[prefix + "mlp.gate.weight"] = tensors.at(prefix + "block_sparse_moe.gate.weight");
    tensors.erase(prefix + "block_sparse_moe.gate.weight");
  }
  const MapSource weights(tensors);
  const auto model = make_model(parse_json(read_text(folder / "config.json"), "config.json"), weights);
  EXPECT_EQ(model->required_tensors().size(), tensors.size());
  const auto block = model->load_block(0, weights);
  EXPECT_EQ(block->linears[4].name, "model.layers.0.block_sparse_moe.experts.0.w1");
  Flow ours{.hidden_TD = hidden_TD_.clone()}, theirs{.hidden_TD = hidden_TD_.clone()};
  block->forward(ours);
  block_->forward(theirs);
  EXPECT_TRUE(at::equal(ours.hidden_TD, theirs.hidden_TD));
}

}  // namespace
}  // namespace swage::model
