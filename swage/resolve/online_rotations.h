// Rotations that the reader of the output computes: which matrices stand where, and how the checkpoint says so
// (transform_config).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "swage/checkpoint/writer.h"
#include "swage/io/tensor_spec.h"
#include "swage/model/model.h"
#include "swage/modifiers/rotator.h"
#include "swage/ops/transform.h"
#include "swage/scheme/transform.h"

namespace swage::pipeline {

// One matrix for all places of a group with columns of the same number. Const calls may come from several threads.
class OnlineRotations {
 public:
  // What `request` asks for of these. Error(InvalidArgument) naming the rotation: patterns that match nothing, sizes
  // without such a matrix, blocks that do not fit, plain Hadamard matrices of other sizes than powers of two, which
  // readers do not have. Error(Unsupported) for embeddings and routers.
  OnlineRotations(const model::Model& model, const modifiers::RotationRequest& request, uint64_t seed);

  bool empty() const { return groups_.empty(); }
  // Linears whose input (output) the reader rotates.
  const std::set<std::string>& inputs() const { return inputs_; }
  const std::set<std::string>& outputs() const { return outputs_; }
  // T of the `columns` columns that a linear reads, and T^-1 of what it makes, of queries and of keys; null where there
  // is none.
  std::shared_ptr<const ops::Transform> find(const std::string& module, scheme::TransformLocation location,
                                             int64_t columns) const;
  // What the weights' columns (rows) are turned by, so that the function stays as it is: W T, T^T W.
  const ops::Transform& folded(scheme::TransformLocation location, int64_t columns) const;

  const scheme::TransformGroups& groups() const { return groups_; }
  // The stored matrices, and how they get into the output.
  const std::vector<io::TensorSpec>& tensors() const { return tensors_; }
  uint64_t bytes() const;
  void write(checkpoint::Writer& writer) const;
  // What readers are known to make of it, and patterns that match nothing.
  std::vector<std::string> warnings() const;

 private:
  struct Matrix {
    std::shared_ptr<const ops::Transform> forward, inverse;
    bool stored_inverse = false;  // the tensor holds this one
  };
  using Key = std::pair<std::string, int64_t>;  // group, columns

  void add_queries_and_keys(const graph::RotationSites& sites);
  void add_last_of_mlp(const model::Model& model, const graph::RotationSites& sites);
  void add_linears(const model::Model& model);
  scheme::TransformScheme scheme_with(std::vector<scheme::TransformArgs> apply, std::optional<int64_t> block) const;
  void add_matrix(const std::string& group, int64_t columns, std::optional<int64_t> block, const std::string& tensor,
                  bool stored_inverse);

  modifiers::RotationRequest request_;
  const uint64_t seed_;
  scheme::TransformGroups groups_;
  std::set<std::string> inputs_, outputs_, attentions_;
  std::string group_of_inputs_;         // R4 or v
  std::vector<std::string> unmatched_;  // as warnings
  std::map<Key, Matrix> matrices_;
  std::vector<io::TensorSpec> tensors_;
  std::vector<Key> stored_;  // in the same order
};

}  // namespace swage::pipeline
