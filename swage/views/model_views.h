// Views of a model: what a recipe makes of a checkpoint before its weights are solved. A view stands in front of the
// weights of the one before it, so that rotations and experts that go combine; each says what it does to config.json,
// to the layout of the output and to what is copied.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"
#include "swage/modifiers/chain.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/output.h"
#include "swage/views/pruned_experts.h"
#include "swage/views/rotated_weights.h"

namespace swage::pipeline {

// The model that a run compresses. Const calls may come from several threads.
class ModelViews {
 public:
  // What the views stand on.
  struct Source {
    const checkpoint::WeightSource& weights;
    std::shared_ptr<model::Model> model;
    const checkpoint::Reader& reader;
    std::vector<std::string> encoded_modules = {};
    std::string name = {};  // for errors
  };

  // The views that `chain` asks for, in the order in which they change the model. All that `source` points to, and
  // `chain`, must outlive this. Error(Unsupported) for a source that holds quantized weights where a view would change
  // them; else as RotatedWeights and PrunedExperts.
  ModelViews(Source source, const modifiers::Chain& chain, uint64_t seed, at::Device device);

  // The model behind all views, its weights and its config.json.
  const std::shared_ptr<model::Model>& model() const { return model_; }
  const checkpoint::WeightSource& weights() const { return *weights_; }
  const Json& config() const { return config_; }
  // Before experts go; null if none do.
  const model::Model* whole() const { return experts_ ? &experts_->source_model() : nullptr; }

  const RotatedWeights* rotated() const { return rotated_.get(); }
  PrunedExperts* experts() const { return experts_.get(); }
  const OnlineRotations* online() const { return rotated_ ? &rotated_->online() : nullptr; }

  // Where output_layout() puts the tensors that a run writes anew, with those of the views. `lay_out` is that function
  // with the names of all that are rewritten.
  OutputLayout layout(const Assignment& assignment, std::set<std::string> rewritten,
                      const std::function<OutputLayout(const std::set<std::string>&)>& lay_out) const;
  // Of a layout that is settled: `rewritten` are the tensors that the run itself changes. From here on weights() gives
  // what nobody else changes rounded to its type in the file.
  void settle(const Assignment& assignment, const OutputLayout& layout, const std::set<std::string>& rewritten);
  // Tensors that a view alone changes and that no layer of a run writes, with their types.
  const std::map<std::string, at::ScalarType>& written() const { return written_; }
  // Tensors of `layout` that views move or change without a solver: what they take, one by one.
  std::vector<uint64_t> moved_bytes(const Assignment& assignment, const OutputLayout& layout) const;
  std::vector<std::string> warnings() const;

 private:
  void rotate(const Source& source, const modifiers::Rotator& rotator, uint64_t seed, at::Device device);
  void prune_experts(const Source& source, const modifiers::ExpertPruner& pruner, at::Device device);

  const checkpoint::Reader& reader_;
  const checkpoint::WeightSource* weights_;  // of the last view
  Json config_;
  std::unique_ptr<RotatedWeights> rotated_;
  std::shared_ptr<model::Model> unpruned_;  // what the experts are taken out of
  std::unique_ptr<PrunedExperts> experts_;
  std::shared_ptr<model::Model> model_;
  std::map<std::string, at::ScalarType> written_;
};

}  // namespace swage::pipeline
