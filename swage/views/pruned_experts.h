// A model without some of its experts, in front of the weights of the whole one: expert p of a mixture is the source's
// expert kept[p], and the router has the rows of these alone. How many stay is known from the start, which ones when
// the run gets to the layer.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"
#include "swage/modifiers/expert_pruner.h"
#include "swage/resolve/output.h"

namespace swage::pipeline {

// One thread changes it, with nobody reading.
class PrunedExperts : public checkpoint::WeightSource {
 public:
  // `model` is that of `source`; both must live longer. Error(InvalidArgument) for a model without experts, where none
  // would go, and where fewer would stay than a token is sent to; Error(Unsupported) where `by` ignores some of the
  // mixtures.
  PrunedExperts(const checkpoint::WeightSource& source, const model::Model& model, const modifiers::ExpertPruner& by);

  const modifiers::ExpertPruner& by() const { return by_; }
  const checkpoint::WeightSource& source() const { return source_; }
  const model::Model& source_model() const { return model_; }
  int64_t experts() const { return experts_; }  // of a mixture, in the source
  int64_t stay() const { return stay_; }
  const std::vector<std::string>& warnings() const { return warnings_; }  // patterns of the recipe that match nothing
  // "model.layers.0.mlp"
  static std::string layer_name(const graph::Mixture& mixture);

  // Which experts of block `block` stay, ascending.
  void keep(int64_t block, std::vector<int64_t> kept);
  // Empty: not known yet, or no mixture.
  const std::vector<int64_t>& kept(int64_t block) const { return kept_[size_t(block)]; }

  // Shapes are those of the pruned model. load() of a tensor of a mixture is Error(Internal) before its keep().
  std::vector<int64_t> shape(const std::string& name) const override;
  at::Tensor load(const std::string& name) const override;
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const override {
    return source_.input_quantization(module);
  }
  std::optional<scheme::QuantizationArgs> kv_cache_quantization() const override {
    return source_.kv_cache_quantization();
  }
  void prefetch(const std::vector<std::string>& names) const override;

  // The tensors of mixtures, as the pruned model names them: they are written when their layer is done.
  std::set<std::string> rewritten() const;
  // Error(Unsupported) for a mixture that holds tensors which no forward pass knows, or experts of different types.
  void check(const checkpoint::Reader& reader) const;
  // Takes out of the layout what no expert of the pruned model has, and makes tensors of all experts smaller.
  void lay_out(OutputLayout& layout) const;

 private:
  // Where a tensor of the pruned model comes from.
  struct Part {
    int64_t block = 0;
    int64_t expert = -1;         // its number; -1: a tensor with a row, or a slice, for each
    size_t linear = 0;           // of the expert: gate, up, down
    std::vector<int64_t> shape;  // in the pruned model
  };

  void check_counts() const;
  void check_ignore();
  void add_parts(int64_t block, const graph::Mixture& mixture);
  std::string source_name(const std::string& name, const Part& part) const;

  const checkpoint::WeightSource& source_;
  const model::Model& model_;
  const modifiers::ExpertPruner& by_;
  int64_t experts_ = 0, stay_ = 0, top_k_ = 0;
  std::vector<std::string> warnings_;
  std::map<std::string, Part> parts_;
  std::set<std::string> gone_;              // tensors of the source that the pruned model has not
  std::vector<std::vector<int64_t>> kept_;  // of each block
};

// Error(Unsupported) for a source that holds quantized weights.
void check_prunable(const std::vector<std::string>& encoded_modules, const std::string& source);
// config.json of the pruned model.
Json config_of_pruned(const Json& config, const PrunedExperts& experts);

}  // namespace swage::pipeline
