// Global scales of a model-free run: linears that engines fuse share one (NVFP4), wherever in the shards they lie.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "swage/shards/model_free_layout.h"

namespace swage::pipeline {

// Thread-safe after construction.
class SharedScales {
 public:
  // Both must outlive this.
  SharedScales(const checkpoint::Reader& reader, const FreeLayout& layout);
  // f32 [1], or undefined for an item whose scheme has no global scale. The first call for a set reads the weights of
  // all its members for their largest magnitude. Error(Numerical) naming a weight that holds NaN or infinity.
  at::Tensor of(const FreeItem& item);

 private:
  struct Set {
    std::once_flag once;
    std::vector<const FreeItem*> members;
    at::Tensor scale;
  };
  void find(Set& set) const;

  const checkpoint::Reader& reader_;
  std::map<std::string, std::unique_ptr<Set>> sets_;  // by scheme::fused_set()
};

}  // namespace swage::pipeline
