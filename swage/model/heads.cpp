#include "swage/model/heads.h"

#include <ATen/ops/cat.h>

#include <algorithm>

#include "swage/model/disentangled_attention.h"
#include "swage/model/norm.h"
#include "swage/model/relative_bias.h"
#include "swage/model/weight_loader.h"
#include "swage/ops/attention.h"

namespace swage::model {

using graph::AttentionNode, scheme::TransformLocation;

namespace {

constexpr const char* kAttentionClass = "Attention";  // of any architecture

}  // namespace

Heads load_heads(const AttentionNode& node, int64_t hidden, const checkpoint::WeightSource& weights) {
  const std::string& name = node.name;
  Heads out;
  out.query = load_head_quantization(weights.input_quantization(name), name + ".q_scale", node.heads, weights);
  out.key = load_head_quantization(weights.kv_cache_quantization(), name + ".k_scale", node.kv_heads, weights);
  out.value = load_head_quantization(weights.kv_cache_quantization(), name + ".v_scale", node.kv_heads, weights);
  out.query_transform = weights.transform({name, kAttentionClass}, TransformLocation::Queries, node.head_size);
  out.key_transform = weights.transform({name, kAttentionClass}, TransformLocation::KeyCache, node.head_size);
  if (!node.sinks.empty()) out.sinks_H = load_shaped(weights, node.sinks, {node.heads});
  if (node.alibi != 0) out.slopes_H = ops::alibi_slopes(node.heads).mul_(node.alibi);
  if (const auto& bias = node.relative) out.distances = load_shaped(weights, bias->table, {bias->buckets, node.heads});
  if (const auto& bias = node.disentangled) {
    out.distances = load_shaped(weights, bias->table, {2 * bias->span, hidden});
    if (bias->norm) out.distances = Norm(*bias->norm, weights)(out.distances);
    if (bias->own_query) out.own_query = load_linear(*bias->own_query, weights);
    if (bias->own_key) out.own_key = load_linear(*bias->own_key, weights);
  }
  return out;
}

at::Tensor kept_scales(const std::optional<ActivationQuantization>& quantization, kernels::CacheFormat format,
                       int64_t groups) {
  if (!quantization || !quantization->scale.defined() || !kernels::has_scales(format)) return {};
  const scheme::QuantizationArgs& args = quantization->args;
  const scheme::NumberType type =
      format == kernels::CacheFormat::Int8 ? scheme::NumberType::Int : scheme::NumberType::Float;
  if (args.type != type || args.num_bits != 8) return {};
  return quantization->scale.to(at::kFloat).expand({groups}).contiguous();
}

at::Tensor transformed_heads(const at::Tensor& x_TGE, const std::shared_ptr<const ops::Transform>& transform) {
  return transform ? transform->columns(x_TGE) : x_TGE;
}

at::Tensor quantized_heads(const at::Tensor& x_TGE, const std::optional<ActivationQuantization>& quantization) {
  if (!quantization) return x_TGE;
  const bool by_head = quantization->args.strategy == scheme::Strategy::AttnHead;
  const at::Tensor rows = by_head ? x_TGE.reshape({-1, x_TGE.size(2)}) : x_TGE.reshape({x_TGE.size(0), -1});
  return fake_quantize(rows, *quantization).view(x_TGE.sizes());
}

at::Tensor bias_of_distances(const AttentionNode& node, const Heads& heads, const std::vector<Linear>& linears,
                             const at::Tensor& q_THE, const at::Tensor& k_SGE) {
  if (node.relative) return relative_bias(*node.relative, heads.distances, q_THE.size(0), k_SGE.size(0));
  if (!node.disentangled) return {};
  const graph::Disentangled& form = *node.disentangled;
  const auto projected = [&](const std::optional<Linear>& own, int shared) {
    const Linear& linear = own ? *own : linears[size_t(shared)];
    return linear(heads.distances).view({heads.distances.size(0), node.heads, node.head_size});
  };
  const at::Tensor key_RHE = form.to_position ? projected(heads.own_key, form.key) : at::Tensor(),
                   query_RHE = form.from_position ? projected(heads.own_query, form.query) : at::Tensor();
  return disentangled_bias(form, q_THE, k_SGE, query_RHE, key_RHE).mul_(node.scale);
}

at::Tensor attend(const AttentionNode& node, const Heads& heads, const at::Tensor& q_THE, const at::Tensor& k_GSE,
                  const at::Tensor& v_GSV, const at::Tensor& bias_HTS) {
  const ops::AttentionForm form{node.scale,    node.window, node.softcap, heads.slopes_H,
                                heads.sinks_H, node.causal, bias_HTS};
  if (node.chunk == 0) return ops::attend(q_THE, k_GSE, v_GSV, form);
  std::vector<at::Tensor> parts;
  const int64_t end = k_GSE.size(1), first = end - q_THE.size(0);
  for (int64_t at = first; at < end;) {
    const int64_t start = at / node.chunk * node.chunk, next = std::min(end, start + node.chunk);
    parts.push_back(ops::attend(q_THE.narrow(0, at - first, next - at), k_GSE.narrow(1, start, next - start),
                                v_GSV.narrow(1, start, next - start), form));
    at = next;
  }
  return at::cat(parts);
}

}  // namespace swage::model
