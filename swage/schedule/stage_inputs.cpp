#include "swage/schedule/stage_inputs.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/ops/gram.h"
#include "swage/resolve/activation_scales.h"
#include "swage/schedule/column_statistics.h"

namespace swage::pipeline {
modifiers::Statistics input_statistics(const Activations& activations, int64_t columns, int expert,
                                       const LinearInput& input, at::Tensor& scratch) {
  modifiers::Statistics out;
  const std::vector<model::Flow>& flows = activations.flows();
  out.gram_II = at::zeros({columns, columns}, flows[0].input_TI.options().dtype(at::kDouble));
  ops::GramSum sum(out.gram_II, activations.tokens(), scratch);
  for (size_t first = 0; first < flows.size(); first += kInputsAtOnce) {
    std::vector<at::Tensor> inputs(std::min(kInputsAtOnce, flows.size() - first));
    eval::for_each_parallel(int64_t(inputs.size()), [&](int64_t i) {
      const model::Flow& flow = flows[first + size_t(i)];
      at::Tensor& x_TI = inputs[size_t(i)];
      x_TI = expert < 0 ? flow.input_TI : flow.input_TI.index_select(0, flow.routed_rows_of(expert));
      x_TI = input.seen(x_TI);
    });
    for (size_t i = 0; i < inputs.size(); ++i) {
      out.tokens += inputs[i].size(0);
      sum.add(inputs[i]);
      activations.release(first + i);
    }
  }
  sum.finish();
  ops::gram_finish(out.gram_II);
  return out;
}

void StageInputs::begin(const model::Stage* stage) {
  stage_ = stage;
  shared_ = {};
}

std::optional<model::ActivationQuantization> StageInputs::quantization(
    const modifiers::LinearTask& task, int expert, const std::shared_ptr<const ops::Transform>& transform) {
  if (!task.scheme->input_activations) return {};
  const auto timed = run_.clock.time("input scales");
  const scheme::QuantizationArgs& args = *task.scheme->input_activations;
  const auto observed = needs_range(args)
                            ? observe_inputs(args, activations_.flows(), moe_routed_ ? expert : -1, transform, release_)
                            : nullptr;
  return input_quantization(args, observed.get(), task.stored_dtype);
}

modifiers::Statistics StageInputs::statistics(int64_t columns, int expert, const LinearInput& input,
                                              std::string& warning) {
  const auto timed = run_.clock.time("gram");
  if (expert >= 0 && moe_routed_) {
    modifiers::Statistics routed = gram(columns, expert, input);
    if (routed.tokens >= columns) return routed;
    warning = cat("expert ", expert, " saw ", routed.tokens, " tokens, fewer than its ", columns,
                  " inputs: solved with the statistics of all tokens");
  }
  std::optional<scheme::QuantizationArgs> wanted_for;
  if (input.quantization) wanted_for = input.quantization->args;
  if (!shared_.gram_II.defined() || shared_for_ != wanted_for || shared_with_ != input.transform)
    shared_ = gram(columns, -1, input);
  shared_for_ = wanted_for;
  shared_with_ = input.transform;
  return shared_;
}

modifiers::Statistics StageInputs::gram(int64_t columns, int expert, const LinearInput& input) {
  return input_statistics(activations_, columns, expert, input, scratch_);
}

bool StageInputs::can_correct(const modifiers::Quantizer& quantizer, int expert) const {
  return float_ != nullptr && stage_ != nullptr && quantizer.target() != modifiers::Target::Weights &&
         !(moe_routed_ && expert >= 0);
}

std::vector<solvers::CorrectedTarget> StageInputs::correct(const modifiers::Quantizer& quantizer,
                                                           const LinearInput& input,
                                                           std::vector<modifiers::LinearTask>& tasks,
                                                           modifiers::Statistics& statistics) {
  const bool residual = stage_->into_residual && quantizer.target() == modifiers::Target::Residual;
  std::vector<at::Tensor> weights;
  for (const modifiers::LinearTask& task : tasks) weights.push_back(task.weight_OI);
  solvers::TargetMoments fit, held_out;
  {
    const auto timed = run_.clock.time("gram");
    fit = float_->moments(activations_, input, residual, false);
    held_out = float_->moments(activations_, input, residual, true);
  }
  const auto timed = run_.clock.time("correct targets");
  std::vector<solvers::CorrectedTarget> out = solvers::correct_targets(weights, fit, held_out);
  for (size_t i = 0; i < tasks.size(); ++i) tasks[i].weight_OI = out[i].weight_OI;
  statistics = {fit.gram_II.add_(held_out.gram_II), activations_.tokens()};
  return out;
}

modifiers::ColumnStatistics StageInputs::columns(bool mean) const {
  return column_statistics(activations_.flows(), mean, release_);
}

void StageInputs::scale(const at::Tensor& factor_I, bool mlp, const modifiers::Statistics& after) {
  activations_.scale_inputs(factor_I, mlp);
  if (float_ != nullptr) float_->scale_inputs(factor_I);
  shared_ = after;
  shared_for_.reset();
  shared_with_.reset();
}

}  // namespace swage::pipeline
