#include "swage/schedule/pass_state.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

bool makes_up(const modifiers::Quantizer* quantizer) { return quantizer->target() != modifiers::Target::Weights; }

std::optional<FloatStream> float_stream_of(const Run& run, const at::Tensor& ids_NL, const offload::Tiers& tiers) {
  const std::vector<const modifiers::Quantizer*>& quantizers = run.assignment.quantizers;
  return std::any_of(quantizers.begin(), quantizers.end(), makes_up)
             ? std::optional<FloatStream>(std::in_place, run.model, ids_NL, tiers)
             : std::nullopt;
}

}  // namespace

PassState::PassState(const Run& given, const at::Tensor& ids_NL, const SequentialOptions& options)
    : run(given),
      activations(run.model, ids_NL, options.tiers, run.context.trace),
      float_stream(float_stream_of(run, ids_NL, options.tiers)),
      inputs(run, activations, float_stream ? &*float_stream : nullptr, options.moe_routed),
      solver(run, inputs) {
  if (run.experts == nullptr) return;
  experts.emplace(run, activations, float_stream ? &*float_stream : nullptr);
  experts->restore();
}

void PassState::forward(const std::function<void(model::Flow&)>& work) {
  const auto timed = run.clock.time("forward");
  activations.advance(work, run.clock.block());
}

void PassState::forward_float(const std::function<void(FloatStream&)>& work) {
  if (!float_stream) return;
  const auto timed = run.clock.time("float forward");
  work(*float_stream);
}

std::vector<model::Linear*> PassState::linears_of(const model::InputGroup& group) const {
  std::vector<model::Linear*> out;
  for (const int index : group.linears) out.push_back(&block->linears[size_t(index)]);
  return out;
}

std::filesystem::path PassState::saved_activations(int64_t b) const {
  return run.writer.work() / cat("activations-", b % 2);
}

}  // namespace swage::pipeline
