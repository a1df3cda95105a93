// GPTQModifier: error-compensated rounding against the second moments of the inputs (solvers/gptq.h).
#pragma once
#include "swage/modifiers/modifier.h"
#include "swage/solvers/gptq.h"
#include "swage/solvers/refine.h"

namespace swage::modifiers {

class Gptq : public Quantizer {
 public:
  // Error(InvalidArgument) naming `source` and the field for values that make no sense.
  Gptq(GptqConfig config, const std::string& source);

  std::string_view name() const override { return "GPTQModifier"; }
  Json config() const override;
  bool needs_calibration() const override { return true; }
  const QuantizationFields& quantization() const override { return config_.quantization; }
  std::string actorder() const override;
  std::vector<SolvedLinear> quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const override;

 private:
  SolvedLinear quantize_one(const LinearTask& task, const solvers::GptqFactor& factor, const at::Tensor& gram_II, const at::Tensor& global_scale,
                            int64_t tokens) const;

  GptqConfig config_;
  solvers::GptqOptions options_;
  solvers::ScaleSearch search_;
  solvers::RefineOptions refine_;
};

}  // namespace swage::modifiers
