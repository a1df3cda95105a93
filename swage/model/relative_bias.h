// What attention scores gain by the bucket that the distance of key and query falls into (T5).
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/graph/program.h"

namespace swage::model {

// table [buckets, H] -> [H, T, S], contiguous: query t stands at position S - T + t. Near distances have a bucket each,
// farther ones share buckets by the logarithm.
at::Tensor relative_bias(const graph::RelativeBias& form, const at::Tensor& table_BH, int64_t queries, int64_t keys);

}  // namespace swage::model
