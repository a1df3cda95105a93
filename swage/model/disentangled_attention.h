// What attention scores gain by embeddings of distances (DeBERTa's disentangled attention).
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/graph/program.h"

namespace swage::model {

// T tokens, H heads, E head size, R = 2 * span distances.
// q [T, H, E], k [T, H, E]; position_query and position_key [R, H, E]: the embeddings of distances, projected,
// undefined where form.from_position or to_position is false. -> [H, T, T]: for query t and key s, with r their
// distance's row, q[t] position_key[r] + k[s] position_query[r], unscaled.
at::Tensor disentangled_bias(const graph::Disentangled& form, const at::Tensor& q_THE, const at::Tensor& k_THE,
                             const at::Tensor& position_query_RHE, const at::Tensor& position_key_RHE);

}  // namespace swage::model
