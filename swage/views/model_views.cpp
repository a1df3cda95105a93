#include "swage/views/model_views.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "swage/base/error.h"

namespace swage::pipeline {

ModelViews::ModelViews(Source source, const modifiers::Chain& chain, uint64_t seed, at::Device device)
    : reader_(source.reader),
      weights_(&source.weights),
      config_(source.reader.config()),
      model_(source.model) {
  if (chain.rotator != nullptr) rotate(source, *chain.rotator, seed, device);
  if (chain.expert_pruner != nullptr) prune_experts(source, *chain.expert_pruner, device);
}

void ModelViews::rotate(const Source& source, const modifiers::Rotator& rotator, uint64_t seed, at::Device device) {
  check_rotatable(source.encoded_modules, source.name);
  rotated_ = std::make_unique<RotatedWeights>(*weights_, *model_, rotator.request(), seed);
  config_ = config_of_rotated(config_, *rotated_);
  weights_ = rotated_.get();
  model_ = model::make_model(config_, *weights_, device, model_->program().architecture);
}

void ModelViews::prune_experts(const Source& source, const modifiers::ExpertPruner& pruner, at::Device device) {
  check_prunable(source.encoded_modules, source.name);
  unpruned_ = model_;
  experts_ = std::make_unique<PrunedExperts>(*weights_, *unpruned_, pruner);
  experts_->check(reader_);
  config_ = config_of_pruned(config_, *experts_);
  weights_ = experts_.get();
  model_ = model::make_model(config_, *weights_, device, model_->program().architecture);
}

OutputLayout ModelViews::layout(const Assignment& assignment, std::set<std::string> rewritten,
                                const std::function<OutputLayout(const std::set<std::string>&)>& lay_out) const {
  std::vector<io::TensorSpec> fresh;  // the head of a model that was tied, matrices of rotations
  if (rotated_) {
    for (const auto& [name, spec] : dense_rotated(reader_, *rotated_, assignment)) {
      const bool is_new = reader_.find(name) == nullptr;
      SWAGE_CHECK(!is_new || !rewritten.contains(name), Unsupported, name,
                  ": the rotation makes it from the embedding, and it cannot be pruned as well; add it to ignore");
      if (is_new)
        fresh.push_back(spec);
      else
        rewritten.insert(name);
    }
    std::ranges::copy(online()->tensors(), std::back_inserter(fresh));
  }
  if (experts_) rewritten.merge(experts_->rewritten());
  OutputLayout out = lay_out(rewritten);
  if (experts_) experts_->lay_out(out);
  for (io::TensorSpec& spec : fresh) {
    out.bytes += io::data_bytes(spec);
    out.tensors.push_back(std::move(spec));
  }
  return out;
}

void ModelViews::settle(const Assignment& assignment, const OutputLayout& layout,
                        const std::set<std::string>& rewritten) {
  written_.clear();
  if (!rotated_) return;
  std::map<std::string, at::ScalarType> rounded;  // by names before experts go
  std::set<std::string> in_output;
  for (const io::TensorSpec& spec : layout.tensors) in_output.insert(spec.name);
  const std::set<std::string> of_layers = experts_ ? experts_->rewritten() : std::set<std::string>();
  for (const auto& [name, spec] : dense_rotated(reader_, *rotated_, assignment)) {
    if (rewritten.contains(name)) continue;
    const auto& type = *rounded.emplace(name, checkpoint::scalar_type_of(spec.dtype)).first;
    if (in_output.contains(name) && !of_layers.contains(name)) written_.insert(type);
  }
  rotated_->round_to(std::move(rounded));
}

std::vector<uint64_t> ModelViews::moved_bytes(const Assignment& assignment, const OutputLayout& layout) const {
  const std::set<std::string> moved = experts_ ? experts_->rewritten() : std::set<std::string>();
  std::vector<uint64_t> out;
  for (const io::TensorSpec& spec : layout.tensors) {
    const bool quantized = assignment.find(spec.name.substr(0, spec.name.rfind('.'))) != nullptr;
    if (written_.contains(spec.name) || (moved.contains(spec.name) && !quantized)) out.push_back(io::data_bytes(spec));
  }
  return out;
}

std::vector<std::string> ModelViews::warnings() const {
  std::vector<std::string> out = experts_ ? experts_->warnings() : std::vector<std::string>();
  if (rotated_) std::ranges::copy(online()->warnings(), std::back_inserter(out));
  return out;
}

}  // namespace swage::pipeline
