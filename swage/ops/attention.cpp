#include "swage/ops/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "swage/kernels/kernels.h"
#include "swage/ops/device.h"

namespace swage::ops {
namespace {

constexpr int64_t kBlockRows = 256;  // rows of a block's scores: wide enough for GEMM, small enough for the cache
constexpr int64_t kChunk = 512;      // queries that share one mask; bounds the mask's memory

// Which keys a row of scores sees, as in kernels::SoftmaxRows.
struct VisibleKeys {
  int64_t offset, window, repeats;
  bool causal = true;
};

// Each key-value head with its query heads makes a batch, keys repeated with stride 0: GPU kernels of float32 do not
// know grouped heads.
at::Tensor batches_of_groups(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                             const std::optional<at::Tensor>& mask, bool causal, double scale) {
  const int64_t groups = k_GSE.size(0), keys = k_GSE.size(1), size = k_GSE.size(2), repeats = q_THE.size(1) / groups;
  const at::Tensor q_GRTE = q_THE.view({q_THE.size(0), groups, repeats, size}).permute({1, 2, 0, 3});
  const at::Tensor out_GRTV = at::scaled_dot_product_attention(
      q_GRTE, k_GSE.unsqueeze(1).expand({groups, repeats, keys, size}),
      v_GSV.unsqueeze(1).expand({groups, repeats, keys, v_GSV.size(2)}), mask, 0.0, causal, scale);
  return out_GRTV.permute({2, 0, 1, 3}).reshape({q_THE.size(0), -1});
}

// Which of `keys` keys, the first of them `offset` positions before the first query, each of `queries` queries sees.
at::Tensor visible(int64_t queries, int64_t keys, int64_t offset, int64_t window, bool causal,
                   const at::TensorOptions& options) {
  at::Tensor mask = at::ones({queries, keys}, options.dtype(at::kBool));
  if (causal || window > 0) mask.tril_(causal ? offset : offset + window - 1);
  if (window > 0) mask.triu_(offset - window + 1);
  return mask;
}

// Chunks of queries, each against the keys that it can see; causal.
at::Tensor chunked_attention(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                             const AttentionForm& form) {
  const int64_t queries = q_THE.size(0), before = k_GSE.size(1) - queries;
  at::Tensor out_TC = at::empty({queries, q_THE.size(1) * v_GSV.size(2)}, q_THE.options());
  for (int64_t first = 0; first < queries; first += kChunk) {
    const int64_t count = std::min(kChunk, queries - first), end = before + first + count;
    const int64_t start = form.window > 0 ? std::max<int64_t>(0, before + first - form.window + 1) : 0;
    const at::Tensor mask = visible(count, end - start, before + first - start, form.window, true, q_THE.options());
    out_TC.narrow(0, first, count)
        .copy_(batches_of_groups(q_THE.narrow(0, first, count), k_GSE.narrow(1, start, end - start),
                                 v_GSV.narrow(1, start, end - start), mask, false, form.scale));
  }
  return out_TC;
}

// Scores of the rows of one group, [count * repeats, keys], become weights by ATen's operations. `head`: the group's
// first; bias_HCS: what the scores gain.
at::Tensor weights_of(const at::Tensor& scores_RS, const AttentionForm& form, const VisibleKeys& visible_keys,
                      int64_t head, const at::Tensor& bias_HCS) {
  const int64_t repeats = visible_keys.repeats, count = scores_RS.size(0) / repeats, keys = scores_RS.size(1);
  at::Tensor scores_CRS = scores_RS.mul(form.scale).view({count, repeats, keys});
  if (form.softcap > 0) scores_CRS.div_(form.softcap).tanh_().mul_(form.softcap);
  if (form.slopes_H.defined()) {
    const at::Tensor behind_CS = at::arange(keys, scores_RS.options())
                                     .sub(at::arange(count, scores_RS.options()).add(visible_keys.offset).unsqueeze(1));
    scores_CRS.add_(behind_CS.unsqueeze(1) *
                    form.slopes_H.narrow(0, head, repeats).to(scores_RS.device()).view({1, repeats, 1}));
  }
  if (bias_HCS.defined()) scores_CRS.add_(bias_HCS.narrow(0, head, repeats).transpose(0, 1));
  const at::Tensor mask_CS =
      visible(count, keys, visible_keys.offset, visible_keys.window, visible_keys.causal, scores_RS.options());
  scores_CRS.masked_fill_(mask_CS.logical_not().unsqueeze(1), -std::numeric_limits<float>::infinity());
  if (!form.sinks_H.defined()) return at::softmax(scores_CRS, -1).view_as(scores_RS);
  const at::Tensor sinks_CR1 = form.sinks_H.narrow(0, head, repeats).view({1, repeats, 1}).expand({count, repeats, 1});
  return at::softmax(at::cat({scores_CRS, sinks_CR1}, -1), -1).narrow(-1, 0, keys).reshape(scores_RS.sizes());
}

// What the kernel for rows of scores does not know.
bool is_special(const AttentionForm& form) {
  return form.softcap > 0 || form.slopes_H.defined() || form.sinks_H.defined() || form.bias_HTS.defined() ||
         (!form.causal && form.window > 0);
}

// By the kernel, in place. Where all keys are seen, every row is taken for one of the last query.
void softmax_rows(at::Tensor& scores_RS, double scale, const VisibleKeys& visible) {
  const int64_t rows = scores_RS.size(0), keys = scores_RS.size(1);
  kernels::fast_kernels().softmax_rows({scores_RS.mutable_data_ptr<float>(), rows, keys, static_cast<float>(scale),
                                        visible.causal ? visible.offset : keys - 1, visible.window,
                                        visible.causal ? visible.repeats : rows});
}

// Behind the last key that the queries before position `end` see.
int64_t last_key(int64_t keys, int64_t end, const AttentionForm& form) {
  if (form.causal) return end;
  return form.window > 0 ? std::min(keys, end + form.window - 1) : keys;
}

// Blocks of queries of one key-value head, all its query heads together, as two large GEMMs: 4.0 ms where libtorch's
// flash attention takes 5.6 (512 tokens, 9 heads of 64, one thread), whose tiles are smaller. Keys that no query of the
// block sees are left out.
at::Tensor attend_in_blocks(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                            const AttentionForm& form) {
  const int64_t queries = q_THE.size(0), heads = q_THE.size(1), size = q_THE.size(2), groups = k_GSE.size(0),
                value_size = v_GSV.size(2);
  const int64_t before = k_GSE.size(1) - queries, repeats = heads / groups,
                block = std::max<int64_t>(1, kBlockRows / repeats), window = form.window;
  const bool plain = q_THE.is_cpu() && !is_special(form);
  at::Tensor out_THV = at::empty({queries, heads, value_size}, q_THE.options());
  const at::Tensor buffer = at::empty({std::min(block, queries) * repeats * k_GSE.size(1)}, q_THE.options());
  for (int64_t first = 0; first < queries; first += block) {
    const int64_t count = std::min(block, queries - first), rows = count * repeats;
    const int64_t start = window > 0 ? std::max<int64_t>(0, before + first - window + 1) : 0;
    const int64_t keys = last_key(k_GSE.size(1), before + first + count, form) - start;
    const at::Tensor bias_HCS =
        form.bias_HTS.defined() ? form.bias_HTS.narrow(1, first, count).narrow(2, start, keys) : at::Tensor();
    at::Tensor scores_RS = buffer.narrow(0, 0, rows * keys).view({rows, keys});
    for (int64_t group = 0; group < groups; ++group) {
      const at::Tensor q_RE = q_THE.narrow(0, first, count).narrow(1, group * repeats, repeats).reshape({rows, size});
      at::mm_out(scores_RS, q_RE, k_GSE[group].narrow(0, start, keys).t());
      const VisibleKeys visible{before + first - start, window, repeats, form.causal};
      if (plain) softmax_rows(scores_RS, form.scale, visible);
      const at::Tensor weights_RS = plain ? scores_RS : weights_of(scores_RS, form, visible, group * repeats, bias_HCS);
      const at::Tensor mixed_RV = at::mm(weights_RS, v_GSV[group].narrow(0, start, keys));
      out_THV.narrow(0, first, count)
          .narrow(1, group * repeats, repeats)
          .copy_(mixed_RV.view({count, repeats, value_size}));
    }
  }
  return out_THV.view({queries, heads * value_size});
}

}  // namespace

at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                  const AttentionForm& form) {
  if (is_special(form) || (q_THE.is_cpu() && q_THE.is_contiguous())) return attend_in_blocks(q_THE, k_GSE, v_GSV, form);
  const at::ScalarType type =
      product_type(q_THE.device());  // flash attention knows bf16 alone: without it a matrix of scores lies in memory
  if (q_THE.scalar_type() != type) return attend(q_THE.to(type), k_GSE.to(type), v_GSV.to(type), form);
  const int64_t queries = q_THE.size(0), keys = k_GSE.size(1), window = form.window;
  const bool all_visible = window == 0 || keys <= window;
  if (queries == 1 && form.causal) {
    const int64_t start = all_visible ? 0 : keys - window;
    return batches_of_groups(q_THE, k_GSE.narrow(1, start, keys - start), v_GSV.narrow(1, start, keys - start), {},
                             false, form.scale);
  }
  if (!form.causal || (queries == keys && all_visible))
    return batches_of_groups(q_THE, k_GSE, v_GSV, {}, form.causal, form.scale);
  return chunked_attention(q_THE, k_GSE, v_GSV, form);
}

at::Tensor alibi_slopes(int64_t heads) {
  at::Tensor out_H = at::empty({heads}, at::kFloat);
  const int64_t power = int64_t(std::bit_floor(uint64_t(heads)));
  for (int64_t head = 0; head < heads; ++head) {
    const double exponent =
        head < power ? double(head + 1) / double(power) : double(2 * (head - power) + 1) / double(2 * power);
    out_H[head] = std::pow(2.0, -8 * exponent);
  }
  return out_H;
}

}  // namespace swage::ops
