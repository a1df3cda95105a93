#include "swage/model/attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include <algorithm>
#include <optional>

namespace swage::model {
namespace {

constexpr int64_t kChunk = 512;  // queries that share one mask; bounds the mask's memory

// Groups of query heads that share a key-value head become the batch, so that keys repeat with stride 0 and no copy.
at::Tensor grouped(const at::Tensor& q_THE, int64_t groups) {
  return q_THE.view({q_THE.size(0), groups, -1, q_THE.size(2)}).permute({1, 2, 0, 3});  // [G, R, T, E]
}

at::Tensor repeated(const at::Tensor& k_GSE, int64_t repeats) {
  return k_GSE.unsqueeze(1).expand({k_GSE.size(0), repeats, k_GSE.size(1), k_GSE.size(2)});
}

// [G, R, T, E] -> [T, G * R * E]
at::Tensor merged(const at::Tensor& out_GRTE) {
  return out_GRTE.permute({2, 0, 1, 3}).reshape({out_GRTE.size(2), -1});
}

at::Tensor softmax_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             const std::optional<at::Tensor>& mask, bool causal) {
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal);
}

// Which of `keys` keys, the first of them `offset` positions before the first query, each of `queries` queries sees.
at::Tensor visible(int64_t queries, int64_t keys, int64_t offset, int64_t window, const at::TensorOptions& options) {
  at::Tensor mask = at::ones({queries, keys}, options.dtype(at::kBool)).tril_(offset);
  if (window > 0) mask.triu_(offset - window + 1);
  return mask;
}

// Chunks of queries, each against the keys that it can see.
at::Tensor chunked_attention(const at::Tensor& q_GRTE, const at::Tensor& k_GRSE, const at::Tensor& v_GRSE,
                             int64_t window) {
  const int64_t queries = q_GRTE.size(2), before = k_GRSE.size(2) - queries;
  at::Tensor out_TC = at::empty({queries, q_GRTE.size(0) * q_GRTE.size(1) * q_GRTE.size(3)}, q_GRTE.options());
  for (int64_t first = 0; first < queries; first += kChunk) {
    const int64_t count = std::min(kChunk, queries - first), end = before + first + count;
    const int64_t start = window > 0 ? std::max<int64_t>(0, before + first - window + 1) : 0;
    const at::Tensor mask = visible(count, end - start, before + first - start, window, q_GRTE.options());
    const at::Tensor part = softmax_attention(q_GRTE.narrow(2, first, count), k_GRSE.narrow(2, start, end - start),
                                              v_GRSE.narrow(2, start, end - start), mask, false);
    out_TC.narrow(0, first, count).copy_(merged(part));
  }
  return out_TC;
}

}  // namespace

at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, int64_t window) {
  const int64_t queries = q_THE.size(0), keys = k_GSE.size(1), groups = k_GSE.size(0);
  const int64_t repeats = q_THE.size(1) / groups;
  const at::Tensor q = grouped(q_THE, groups), k = repeated(k_GSE, repeats), v = repeated(v_GSE, repeats);
  const bool all_visible = window == 0 || keys <= window;
  if (queries == 1) {
    const int64_t start = all_visible ? 0 : keys - window;
    return merged(softmax_attention(q, k.narrow(2, start, keys - start), v.narrow(2, start, keys - start), {}, false));
  }
  if (queries == keys && all_visible) return merged(softmax_attention(q, k, v, {}, true));
  return chunked_attention(q, k, v, window);
}

}  // namespace swage::model
