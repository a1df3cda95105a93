// AWQModifier: the input columns that carry most are scaled up before rounding, by a search over how far (Lin et al.
// 2024, arXiv:2306.00978).
#pragma once
#include "swage/modifiers/config.h"
#include "swage/modifiers/rescaler.h"

namespace swage::modifiers {

// Candidates as in LLM Compressor: with x the mean |input| of a column and w the mean over all consumers' rows of |W| /
// (largest |W| of its group), s = x^r / (w^(1 - r) + 1e-4) (duo_scaling) or x^r, at least 1e-4, divided by sqrt(largest
// * smallest). Tried by the error of the consumers' own outputs, tr((Q(W s) / s - W) H (Q(W s) / s - W)^T), Q rounding
// to the nearest value of each consumer's own grid: at most kSampledRows of its rows are looked at, by a quarter of
// which all but six and s = 1 are ruled out. With objective "parent", consumers that share an input are tried by the
// output of the module they are in instead, as LLM Compressor does. The first candidate is s = 1.
class Awq : public Rescaler {
 public:
  static constexpr int64_t kSampledRows = 256;

  // Error(InvalidArgument) naming `source` and the field for values that make no sense.
  Awq(AwqConfig config, const std::string& source);

  std::string_view name() const override { return AwqConfig::kName.recipe; }
  Json config() const override;
  Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const override;
  const std::vector<Mapping>& mappings() const override { return mappings_; }
  const std::vector<std::string>& ignore() const override { return config_.ignore; }
  bool follows_linears() const override { return true; }
  bool needs_gram() const override { return true; }
  bool needs_mean() const override { return true; }
  int64_t outputs_tried() const override { return config_.objective == "parent" ? config_.n_grid + 1 : 0; }
  at::Tensor scales(const RescaleTask& task) const override;

 private:
  std::vector<at::Tensor> candidates(const RescaleTask& task) const;

  AwqConfig config_;
  std::vector<Mapping> mappings_;
};

}  // namespace swage::modifiers
