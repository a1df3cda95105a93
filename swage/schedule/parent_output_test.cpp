// The error of a module's output against what it must be where that is known: by the Gram matrix for a linear that
// writes into the residual stream itself, and by running the block on its own for the others.
#include "swage/schedule/parent_output.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "swage/schedule/stopped_test_support.h"

namespace swage::pipeline {
namespace {

using model::Linear;

at::Tensor changed(const at::Tensor& w_OI) { return w_OI.to(at::kFloat8_e4m3fn).to(at::kFloat); }

TEST(ParentOutput, OfALinearThatWritesIntoTheStreamIsWhatItsGramMatrixSays) {
  at::manual_seed(3);
  Stopped at_output("llama32_tied", 1);
  Linear& linear = *at_output.linears_of(1)[0];
  const at::Tensor change_OI = changed(linear.weight_OI).sub(linear.weight_OI).to(at::kDouble);
  double want = 0;
  for (const model::Flow& flow : at_output.activations->flows())
    want += flow.input_TI.to(at::kDouble).mm(change_OI.t()).square().sum().item<double>();
  ParentOutput parent(*at_output.block, 1, *at_output.activations);
  EXPECT_EQ(parent.error({&linear}, {linear.weight_OI}), 0);
  // The streams are f32 numbers near 1 and their differences near 2^-6 of that: 2^-18 each, of both signs.
  EXPECT_NEAR(parent.error({&linear}, {changed(linear.weight_OI)}), want, 1e-4 * want);
}

// Attention, a gated MLP, experts: with other weights, as the block itself computes it.
TEST(ParentOutput, IsWhatTheBlockComputes) {
  for (const char* name : {"llama32_tied", "mixtral"}) {
    for (const int s : {0, 2}) {
      Stopped stopped(name, s);
      const std::vector<Linear*> linears = stopped.linears_of(size_t(s));
      ParentOutput parent(*stopped.block, size_t(s), *stopped.activations);
      std::vector<at::Tensor> kept, others;
      for (const Linear* linear : linears) {
        kept.push_back(linear->weight_OI);
        others.push_back(changed(linear->weight_OI));
      }
      const double found = parent.error(linears, others);
      for (size_t i = 0; i < linears.size(); ++i)
        EXPECT_TRUE(linears[i]->weight_OI.is_same(kept[i])) << "its own weight is back";
      const int end = s == 0 ? 1 : int(stopped.block->stages.size()) - 1;
      double want = 0;
      for (const model::Flow& start : stopped.activations->flows()) {
        std::vector<at::Tensor> streams;
        for (const auto& weights : {kept, others}) {
          for (size_t i = 0; i < linears.size(); ++i) linears[i]->weight_OI = weights[i];
          model::Flow flow = start;
          flow.hidden_TD = flow.hidden_TD.clone();
          if (flow.accumulated_TD.defined()) flow.accumulated_TD = flow.accumulated_TD.clone();
          for (int i = s; i <= end; ++i) stopped.block->step(i, flow);
          streams.push_back(flow.hidden_TD);
        }
        want += streams[1].sub(streams[0]).square().sum(at::kDouble).item<double>();
      }
      EXPECT_GT(want, 0);
      // Routed tokens alone against all of them: the same products, in another order of f32 sums.
      EXPECT_NEAR(found, want, 1e-4 * want) << name << ", stage " << s;
    }
  }
}

}  // namespace
}  // namespace swage::pipeline
