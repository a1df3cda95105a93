// Experts as GPT-OSS is published (quant_method "mxfp4"): tensor NAME [E, I, O] is stored as
//   NAME_blocks U8 [E, O, G, 16]  two codes e2m1 a byte, the low half first, of 32 columns
//   NAME_scales U8 [E, O, G]      exponents: a block's values are code * 2^(scale - 127)
#pragma once
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "swage/checkpoint/reader.h"

namespace swage::format {

// Shape of the tensor `name`, if it is stored so: [E, 32 G, O]. Error(CorruptData) for blocks and scales that do not
// fit each other.
std::optional<std::vector<int64_t>> mxfp4_experts_shape(const checkpoint::Reader& reader, const std::string& name);
// Its values, f32. Of a tensor that is stored so.
at::Tensor mxfp4_experts(const checkpoint::Reader& reader, const std::string& name);
// Whether `tensor` is a part of one.
bool is_mxfp4_part(const checkpoint::Reader& reader, const std::string& tensor);

}  // namespace swage::format
