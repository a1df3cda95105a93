// Attention to the tokens that an index chooses (DeepSeek-V3.2's sparse attention).
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/ops/attention.h"

namespace swage::model {

// T queries, S keys so far, the last T of them the queries' own; I index heads, E index size.
// query [T, I, E], key [S, E], weights [T, I] -> bool [T, S]: the `count` keys of each query, none of them behind it,
// with the largest sum over heads of weight * relu(query key^T).
at::Tensor chosen_keys(const at::Tensor& query_TIE, const at::Tensor& key_SE, const at::Tensor& weights_TI,
                       int64_t count);
// As attend(), each query seeing the keys of its row of `chosen` [T, S]; a plain scale is all that form may have.
at::Tensor attend_chosen(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                         const at::Tensor& chosen_TS, const ops::AttentionForm& form);

}  // namespace swage::model
