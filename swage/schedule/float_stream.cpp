#include "swage/schedule/float_stream.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include "swage/eval/forward.h"
#include "swage/ops/gram.h"

namespace swage::pipeline {
void FloatStream::begin_block(const model::Model& model, int64_t index, const checkpoint::WeightSource& weights) {
  block_ = model.load_block(index, weights);
  for (const model::Linear& linear : block_->linears) activations_.make_room(linear.columns);
  factor_I_ = at::Tensor();
  activations_.advance([&](model::Flow& flow) { block_->begin(flow); });
}

void FloatStream::step(int s) {
  factor_I_ = at::Tensor();
  activations_.advance([&](model::Flow& flow) { block_->step(s, flow); });
}

void FloatStream::keep_experts(const std::vector<int64_t>& kept) {
  block_->keep_experts(kept);
  activations_.advance([&](model::Flow& flow) { block_->route_again(flow); });
}

void FloatStream::pass_block(const model::Model& model, int64_t index, const checkpoint::WeightSource& weights) {
  begin_block(model, index, weights);
  for (size_t s = 0; s < block_->stages.size(); ++s) step(int(s));
  end_block();
}

void FloatStream::scale_inputs(const at::Tensor& factor_I) {
  factor_I_ = factor_I_.defined() ? factor_I_.mul(factor_I) : factor_I;
}

solvers::TargetMoments FloatStream::moments(const Activations& quantized, const LinearInput& input, bool residual,
                                            bool held_out) const {
  const std::vector<model::Flow>&mine = activations_.flows(), &theirs = quantized.flows();
  const int64_t columns = theirs[0].input_TI.size(1), hidden = theirs[0].hidden_TD.size(1);
  solvers::TargetMoments out{
      at::zeros({columns, columns}, at::kDouble), at::zeros({columns, columns}, at::kDouble), {}};
  if (residual) out.residual_OI = at::zeros({hidden, columns}, at::kDouble);
  const size_t step = std::min(kHeldOut, mine.size());
  std::vector<size_t> rows;
  for (size_t row = 0; row < mine.size(); ++row) {
    if ((row % step == step - 1) == held_out) rows.push_back(row);
  }
  at::Tensor scratch;
  ops::GramSum sum(out.gram_II, int64_t(rows.size()) * theirs[0].input_TI.size(0), scratch);
  for (size_t first = 0; first < rows.size(); first += kMomentsAtOnce) {
    std::vector<at::Tensor> seen(std::min(kMomentsAtOnce, rows.size() - first)), lacking(seen.size()),
        behind(seen.size());
    eval::for_each_parallel(int64_t(seen.size()), [&](int64_t i) {
      const size_t row = rows[first + size_t(i)];
      const at::Tensor& x_TI = theirs[row].input_TI;
      const at::Tensor whole_TI =
          input.transformed(factor_I_.defined() ? mine[row].input_TI.mul(factor_I_) : mine[row].input_TI);
      seen[size_t(i)] = input.seen(x_TI).to(at::kCPU, at::kFloat);
      lacking[size_t(i)] = whole_TI.to(at::kCPU, at::kFloat).sub(seen[size_t(i)]);
      if (residual) behind[size_t(i)] = mine[row].hidden_TD.sub(theirs[row].hidden_TD).cpu();
      activations_.release(row);
    });
    const at::Tensor seen_TI = at::cat(seen);
    seen.clear();
    for (size_t i = 0; i < lacking.size(); ++i) quantized.release(rows[first + i]);
    sum.add(seen_TI);
    ops::cross_add(at::cat(lacking), seen_TI, out.inputs_II);
    if (residual) ops::cross_add(at::cat(behind), seen_TI, out.residual_OI);
  }
  sum.finish();
  ops::gram_finish(out.gram_II);
  return out;
}

}  // namespace swage::pipeline
