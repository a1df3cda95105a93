// What a tokenizer puts around a text and masked language models need to know of it.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "swage/data/tokenizer.h"

namespace swage::data {

// Ids that a tokenizer puts behind a text by itself (a [SEP]), empty for most.
std::vector<int64_t> suffix_ids(const Tokenizer& tokenizer);

// windows_NL int64 [N, L] -> [N, L + suffix]: each with the suffix behind it.
at::Tensor with_suffix(const at::Tensor& windows_NL, const std::vector<int64_t>& suffix);

// The token that masked language models read in place of another; nothing if the files name none.
std::optional<int64_t> mask_id(const Tokenizer& tokenizer);

}  // namespace swage::data
