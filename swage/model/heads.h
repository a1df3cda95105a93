// Heads of an attention node: what is loaded for them, and how queries, keys and values become one.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/program.h"
#include "swage/model/activation_quantization.h"
#include "swage/model/block.h"
#include "swage/ops/paged_attention.h"

namespace swage::model {

// What an attention node needs beside its operands.
struct Heads {
  std::shared_ptr<const ops::Transform> query_transform, key_transform;  // null: none
  std::optional<ActivationQuantization> query, key, value;
  at::Tensor sinks_H, slopes_H;              // undefined: none
  at::Tensor distances;                      // of graph::RelativeBias or Disentangled, normed; undefined: none
  std::optional<Linear> own_query, own_key;  // of graph::Disentangled
};

// `hidden`: numbers a token of the stream. Error(CorruptData) for absent tensors or other shapes.
Heads load_heads(const graph::AttentionNode& node, int64_t hidden, const checkpoint::WeightSource& weights);

// Static scales of the keys or values of `groups` heads, if their quantization has codes as the cache's; else
// undefined.
at::Tensor kept_scales(const std::optional<ActivationQuantization>& quantization, kernels::CacheFormat format,
                       int64_t groups);

// x [T, G, E], each head multiplied with the transform, if there is one.
at::Tensor transformed_heads(const at::Tensor& x_TGE, const std::shared_ptr<const ops::Transform>& transform);
// x [T, G, E] on the grid of `quantization`, if there is one.
at::Tensor quantized_heads(const at::Tensor& x_TGE, const std::optional<ActivationQuantization>& quantization);

// What the scores gain by distances [H, T, S]; undefined: nothing. q [T, H, E], k [S, G, E] as the projections made
// them; `linears` of the block.
at::Tensor bias_of_distances(const graph::AttentionNode& node, const Heads& heads, const std::vector<Linear>& linears,
                             const at::Tensor& q_THE, const at::Tensor& k_SGE);

// q [T, H, E], k [G, S, E], v [G, S, V] -> [T, H * V]; of a chunked attention, chunk by chunk.
at::Tensor attend(const graph::AttentionNode& node, const Heads& heads, const at::Tensor& q_THE,
                  const at::Tensor& k_GSE, const at::Tensor& v_GSV, const at::Tensor& bias_HTS);

}  // namespace swage::model
