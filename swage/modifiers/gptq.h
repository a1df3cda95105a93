// GPTQModifier: error-compensated rounding against the second moments of the inputs (solvers/gptq.h).
#pragma once
#include "swage/modifiers/modifier.h"
#include "swage/modifiers/weight_grids.h"
#include "swage/solvers/solver.h"

namespace swage::modifiers {

class Gptq : public Quantizer {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense.
  Gptq(GptqConfig config, const std::string& source);

  std::string_view name() const override { return GptqConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  bool needs_calibration() const override { return true; }
  const QuantizationFields& quantization() const override { return config_.quantization; }
  std::string actorder() const override;
  bool insists_on_actorder() const override { return config_.actorder.has_value(); }
  Target target() const override { return target_; }
  std::vector<SolvedLinear> quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const override;

 private:
  // Where the weight and its statistics are: all tensors are on the solver's device.
  SolvedLinear quantize_one(const LinearTask& task, const solvers::GptqFactor& factor, const at::Tensor& gram_II,
                            solvers::Grid grid, int64_t tokens, const solvers::Solver& solver) const;
  // Whether the solvers of a GPU take all of the tasks.
  bool all_fit_device(std::span<const LinearTask> tasks) const;
  int sweeps_of(const scheme::QuantizationArgs& weights) const;
  // What the scheme says of it, else the config.
  solvers::ActOrder order_of(const LinearTask& task) const;

  GptqConfig config_;
  ByBits sweeps_;
  solvers::GptqOptions options_;
  ScaleChoice scales_;
  Target target_ = Target::Weights;
};

}  // namespace swage::modifiers
