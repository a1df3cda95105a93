#include "swage/model/sparse_attention.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "swage/base/error.h"

namespace swage::model {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

}  // namespace

at::Tensor chosen_keys(const at::Tensor& query_TIE, const at::Tensor& key_SE, const at::Tensor& weights_TI,
                       int64_t count) {
  const int64_t tokens = query_TIE.size(0), keys = key_SE.size(0), before = keys - tokens;
  at::Tensor scores_TS = at::zeros({tokens, keys}, query_TIE.options());
  for (int64_t head = 0; head < query_TIE.size(1); ++head) {
    const at::Tensor of_head_TS = at::mm(query_TIE.select(1, head), key_SE.t()).relu_();
    scores_TS.add_(of_head_TS.mul_(weights_TI.select(1, head).unsqueeze(1)));
  }
  const at::Tensor behind_TS = at::arange(keys, at::kLong)
                                   .unsqueeze(0)
                                   .gt(at::arange(tokens, at::kLong).add(before).unsqueeze(1))
                                   .to(scores_TS.device());
  scores_TS.masked_fill_(behind_TS, kNone);
  const at::Tensor best_TK = std::get<1>(at::topk(scores_TS, std::min(count, keys), -1));
  const at::Tensor chosen_TS =
      at::zeros({tokens, keys}, scores_TS.options().dtype(at::kBool)).scatter_(1, best_TK, true);
  return chosen_TS.logical_and(behind_TS.logical_not());
}

at::Tensor attend_chosen(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV,
                         const at::Tensor& chosen_TS, const ops::AttentionForm& form) {
  SWAGE_CHECK(form.window == 0 && form.softcap == 0 && !form.slopes_H.defined() && !form.sinks_H.defined(), Internal,
              "attention to chosen keys has a scale and nothing else");
  const int64_t tokens = q_THE.size(0), heads = q_THE.size(1), repeats = heads / k_GSE.size(0), size = v_GSV.size(2);
  const at::Tensor others_TS = chosen_TS.logical_not();
  at::Tensor out_THV = at::empty({tokens, heads, size}, q_THE.options());
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t group = head / repeats;
    const at::Tensor scores_TS = at::mm(q_THE.select(1, head), k_GSE[group].t()).mul_(form.scale);
    const at::Tensor weights_TS = at::softmax(scores_TS.masked_fill_(others_TS, kNone), -1);
    out_THV.select(1, head).copy_(at::mm(weights_TS, v_GSV[group]));
  }
  return out_THV.view({tokens, heads * size});
}

}  // namespace swage::model
