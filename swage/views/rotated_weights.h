// A checkpoint with rotations folded into its weights: turned as they are read, so that memory stays that of a plain
// run.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"
#include "swage/modifiers/rotator.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/online_rotations.h"

namespace swage::pipeline {

// With h the residual stream and R orthogonal, h R stands for h: embedding rows and what is added to the stream become
// y R, weights that read it W diag(g) R with g the norm in between, which becomes ones, since rms(h R) = rms(h). R2 the
// same for the values of every head. What a linear reads or makes is rotated by whoever runs the model, transform()
// here; its weight is W T, or T^T W. Const calls may come from several threads. Everything is f32.
class RotatedWeights : public checkpoint::WeightSource {
 public:
  // `model` is that of `source`, which must outlive this. `seed` is the run's. Error(Unsupported) where R1 is no
  // identity for the architecture; Error(InvalidArgument) naming the rotation for a size that has no such matrix or
  // does not split into its blocks.
  RotatedWeights(const checkpoint::WeightSource& source, const model::Model& model,
                 const modifiers::RotationRequest& request, uint64_t seed);

  std::vector<int64_t> shape(const std::string& name) const override;
  at::Tensor load(const std::string& name) const override;
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const override {
    return source_.input_quantization(module);
  }
  std::optional<scheme::QuantizationArgs> kv_cache_quantization() const override {
    return source_.kv_cache_quantization();
  }
  std::shared_ptr<const ops::Transform> transform(const scheme::ModuleName& module, scheme::TransformLocation location,
                                                  int64_t columns) const override {
    return online_.find(module.name, location, columns);
  }
  void prefetch(const std::vector<std::string>& names) const override;

  // `value` as load() would turn it: tensor `name` of the source, or one expert's part of it. On the CPU.
  at::Tensor rotate(const std::string& name, const at::Tensor& value) const;
  // Tensors that the output stores as numbers in these types: load() gives them rounded to it, so that whoever
  // calibrates sees what is written.
  void round_to(std::map<std::string, at::ScalarType> types) { types_ = std::move(types); }

  const std::vector<model::RotatedTensor>& tensors() const { return tensors_.tensors; }
  bool unties_head() const { return tensors_.unties_head; }
  const OnlineRotations& online() const { return online_; }

 private:
  const model::RotatedTensor* find(const std::string& name) const;
  const ops::Transform& rotation_of(model::Basis basis, const model::RotatedTensor& tensor) const;

  const checkpoint::WeightSource& source_;
  const OnlineRotations online_;
  const model::RotatedTensors tensors_;
  std::map<std::string, size_t> index_of_;
  std::vector<ops::Transform> stream_;  // one or none
  std::vector<ops::Transform> heads_;   // one for each layer, one for all, or none
  std::map<std::string, at::ScalarType> types_;
};

// config.json of the rotated model: without tied embeddings, if the rotation unties them.
Json config_of_rotated(const Json& config, const RotatedWeights& rotated);
// Tensors whose values the rotation changes and that are not a quantized module's weight, as the output stores them: in
// their types in the source.
std::map<std::string, io::TensorSpec> dense_rotated(const checkpoint::Reader& reader, const RotatedWeights& rotated,
                                                    const Assignment& assignment);
// Error(Unsupported) for a source that holds quantized weights.
void check_rotatable(const std::vector<std::string>& encoded_modules, const std::string& source);

}  // namespace swage::pipeline
