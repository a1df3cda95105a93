// The matrices that a checkpoint has its reader multiply activations with: what transform_config says, and the tensors
// that hold them.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/ops/transform.h"
#include "swage/scheme/transform.h"

namespace swage::format {

// MODULE.GROUP_LOCATION.weight holds a matrix [n, n]: of hadamard and random-hadamard sqrt(n) times the orthogonal one,
// of random-matrix itself, or, where an inverse is applied, the inverse. Modules of a group whose matrices are the same
// share one tensor, under the name of the first of them. With `randomize`, rows and columns are taken in the order of
// MODULE.GROUP_LOCATION.perm (I64 [n]). Calls may come from several threads. A matrix is read once.
class StoredTransforms {
 public:
  // `reader` must outlive this.
  StoredTransforms(scheme::TransformGroups groups, const checkpoint::Reader& reader);

  bool empty() const { return matcher_.empty(); }
  // T of the `columns` columns at this place, null if none is asked for. Error(CorruptData) if it is not stored, or not
  // as described; Error(Unsupported) for a place with two.
  std::shared_ptr<const ops::Transform> find(const scheme::ModuleName& module, scheme::TransformLocation location,
                                             int64_t columns) const;

 private:
  struct Stored {
    std::string group;
    int64_t size;
    bool inverse;        // it is stored as the inverse
    std::string tensor;  // without ".weight"
  };

  std::string tensor_of(const scheme::OnlineTransform& transform, const std::string& module, int64_t size) const;
  ops::Transform read(const scheme::OnlineTransform& transform, const std::string& tensor, int64_t size) const;

  const scheme::TransformMatcher matcher_;
  const checkpoint::Reader& reader_;
  std::vector<Stored> stored_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<std::string, bool>, std::shared_ptr<const ops::Transform>>
      read_;  // by tensor and whether it is transposed
};

}  // namespace swage::format
