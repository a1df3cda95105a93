#include "swage/model/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <optional>

namespace swage::model {
namespace {

constexpr int64_t kChunk = 512;  // queries that share one mask; bounds the mask's memory

// One batch of all heads: the CPU's kernel knows grouped heads and writes [T, H, E], so that nothing is copied.
at::Tensor batch_of_heads(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, const std::optional<at::Tensor>& mask,
                          bool causal) {
  const bool grouped = q_THE.size(1) != k_GSE.size(0);
  const at::Tensor out_1HTE =
      at::scaled_dot_product_attention(q_THE.transpose(0, 1).unsqueeze(0), k_GSE.unsqueeze(0), v_GSE.unsqueeze(0), mask, 0.0, causal, {}, grouped);
  return out_1HTE.squeeze(0).transpose(0, 1).reshape({q_THE.size(0), -1});
}

// Each key-value head with its query heads makes a batch, keys repeated with stride 0: GPU kernels of float32 do not know
// grouped heads.
at::Tensor batches_of_groups(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, const std::optional<at::Tensor>& mask,
                             bool causal) {
  const int64_t groups = k_GSE.size(0), keys = k_GSE.size(1), size = k_GSE.size(2), repeats = q_THE.size(1) / groups;
  const at::Tensor q_GRTE = q_THE.view({q_THE.size(0), groups, repeats, size}).permute({1, 2, 0, 3});
  const at::Tensor out_GRTE = at::scaled_dot_product_attention(q_GRTE, k_GSE.unsqueeze(1).expand({groups, repeats, keys, size}),
                                                               v_GSE.unsqueeze(1).expand({groups, repeats, keys, size}), mask, 0.0, causal);
  return out_GRTE.permute({2, 0, 1, 3}).reshape({q_THE.size(0), -1});
}

// [T, H * E]
at::Tensor softmax_attention(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, const std::optional<at::Tensor>& mask,
                             bool causal) {
  return q_THE.is_cpu() ? batch_of_heads(q_THE, k_GSE, v_GSE, mask, causal) : batches_of_groups(q_THE, k_GSE, v_GSE, mask, causal);
}

// Which of `keys` keys, the first of them `offset` positions before the first query, each of `queries` queries sees.
at::Tensor visible(int64_t queries, int64_t keys, int64_t offset, int64_t window, const at::TensorOptions& options) {
  at::Tensor mask = at::ones({queries, keys}, options.dtype(at::kBool)).tril_(offset);
  if (window > 0) mask.triu_(offset - window + 1);
  return mask;
}

// Chunks of queries, each against the keys that it can see.
at::Tensor chunked_attention(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, int64_t window) {
  const int64_t queries = q_THE.size(0), before = k_GSE.size(1) - queries;
  at::Tensor out_TC = at::empty({queries, q_THE.size(1) * q_THE.size(2)}, q_THE.options());
  for (int64_t first = 0; first < queries; first += kChunk) {
    const int64_t count = std::min(kChunk, queries - first), end = before + first + count;
    const int64_t start = window > 0 ? std::max<int64_t>(0, before + first - window + 1) : 0;
    const at::Tensor mask = visible(count, end - start, before + first - start, window, q_THE.options());
    out_TC.narrow(0, first, count)
        .copy_(
            softmax_attention(q_THE.narrow(0, first, count), k_GSE.narrow(1, start, end - start), v_GSE.narrow(1, start, end - start), mask, false));
  }
  return out_TC;
}

}  // namespace

at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, int64_t window) {
  const int64_t queries = q_THE.size(0), keys = k_GSE.size(1);
  const bool all_visible = window == 0 || keys <= window;
  if (queries == 1) {
    const int64_t start = all_visible ? 0 : keys - window;
    return softmax_attention(q_THE, k_GSE.narrow(1, start, keys - start), v_GSE.narrow(1, start, keys - start), {}, false);
  }
  if (queries == keys && all_visible) return softmax_attention(q_THE, k_GSE, v_GSE, {}, true);
  return chunked_attention(q_THE, k_GSE, v_GSE, window);
}

}  // namespace swage::model
