// Keys and values of the tokens seen so far, for decoding.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace swage::model {

// One block's cache. H key-value heads, T tokens so far, E head size.
struct KvCache {
  at::Tensor keys_HTE, values_HTE;  // undefined before the first token
};

}  // namespace swage::model
