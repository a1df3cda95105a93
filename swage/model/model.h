// A language model as its config describes it: embedding, blocks loaded one at a time, head.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/graph/mixture.h"
#include "swage/graph/program.h"
#include "swage/graph/rotation.h"
#include "swage/graph/shape.h"
#include "swage/graph/smoothing.h"
#include "swage/io/tensor_spec.h"
#include "swage/model/block.h"

namespace swage::model {

using graph::Basis, graph::BlockShape, graph::ModelShape, graph::ModuleInfo, graph::RotatedSpaces, graph::RotatedTensor,
    graph::RotatedTensors, graph::RotationSites, graph::SmoothingPair;

class Model {
 public:
  virtual ~Model() = default;

  virtual int64_t blocks() const = 0;
  virtual int64_t hidden_size() const = 0;
  virtual int64_t vocabulary_size() const = 0;
  virtual int64_t max_positions() const = 0;  // 0: no bound known
  virtual bool tied_embeddings() const = 0;

  // Every linear and embedding, in module order. Shapes come from the config alone.
  virtual std::vector<ModuleInfo> modules() const = 0;
  // The same block by block, with the stages of each: for planning.
  virtual ModelShape shape() const = 0;
  // The tensors the checkpoint must hold, names and shapes from the config (dtype is not meaningful).
  // Used to refuse a checkpoint whose shapes do not match its config.
  virtual std::vector<io::TensorSpec> required_tensors() const = 0;
  // Names of the tensors of block `index`, for prefetching and copying.
  virtual std::vector<std::string> tensors_of_block(int64_t index) const = 0;

  // The mixture of experts of block `index`; null if it has none.
  virtual const graph::Mixture* mixture(int64_t index) const = 0;
  // Where scales of the KV cache of block `index` belong; nothing if it has no attention.
  virtual std::optional<graph::AttentionInfo> attention(int64_t index) const = 0;
  // What it computes.
  virtual const graph::ModelProgram& program() const = 0;
  // What can be rescaled in block `index`.
  virtual std::vector<SmoothingPair> smoothing_pairs(int64_t index) const = 0;
  // What turning these spaces changes, and where R3 and R4 are; errors as there.
  virtual RotatedTensors rotated_tensors(const RotatedSpaces& spaces) const = 0;
  virtual RotationSites rotation_sites() const = 0;

  virtual std::unique_ptr<Block> load_block(int64_t index, const checkpoint::WeightSource& weights) const = 0;
  // Loads embedding and head weights; call before embed() or logits(). The head of a tied model is the embedding.
  virtual void load_ends(const checkpoint::WeightSource& weights) = 0;
  virtual void drop_ends() = 0;
  // ids [T] int64 -> [T, D]. `position` of the first token, for learned positions. types_T int64: token types of a
  // model that has them, undefined: all of the first type.
  virtual at::Tensor embed(const at::Tensor& ids_T, int64_t position, const at::Tensor& types_T = {}) const = 0;
  // The same of the target of an encoder-decoder model.
  virtual at::Tensor embed_target(const at::Tensor& ids_T) const = 0;
  // hidden [T, D], out of the last block -> [T, D]: the body's output, with the final norm.
  virtual at::Tensor last_hidden(const at::Tensor& hidden_TD) const = 0;
  // hidden [T, D], out of the last block -> what the head reads [T, I]: final norm, projection, transform.
  virtual at::Tensor head_input(const at::Tensor& hidden_TD) const = 0;
  // hidden [T, D], out of the last block -> logits [T, V]: head_input() and the head. Error(Unsupported) if the model
  // has none.
  virtual at::Tensor logits(const at::Tensor& hidden_TD) const = 0;
};

// What an architecture makes of a config.json. Errors as make_model().
// `architecture` stands for the config's model_type if it is not empty.
graph::ModelProgram make_program(const Json& config, const checkpoint::WeightSource& weights,
                                 const std::string& architecture = {});

// From config.json. Error(Unsupported) naming model_type and listing the supported ones; Error(CorruptData) naming the
// field for a config that makes no sense. `weights` tells storage variants apart (OPT's two layouts, fused experts).
std::unique_ptr<Model> make_model(const Json& config, const checkpoint::WeightSource& weights,
                                  at::Device device = at::kCPU, const std::string& architecture = {});

// The model_type values that make_model accepts, sorted.
std::vector<std::string> supported_model_types();

}  // namespace swage::model
