#include "swage/model/disentangled_attention.h"

#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

namespace swage::model {
namespace {

// Distances up to buckets / 2 are themselves, farther ones share buckets by the logarithm, in float as transformers has
// it.
int64_t bucket_of(const graph::Disentangled& form, int64_t distance) {
  const int64_t middle = form.buckets / 2, far = std::abs(distance);
  if (form.buckets == 0 || far <= middle) return distance;
  const float share =
      std::log(float(far) / float(middle)) / std::log(float(double(form.distance - 1) / double(middle)));
  const int64_t bucket = int64_t(std::ceil(share * float(middle - 1))) + middle;
  return distance < 0 ? -bucket : bucket;
}

// Rows of the table: [T, T].
at::Tensor rows_of(const graph::Disentangled& form, int64_t tokens) {
  const at::Tensor rows_TT = at::empty({tokens, tokens}, at::kLong);
  int64_t* row = rows_TT.mutable_data_ptr<int64_t>();
  for (int64_t query = 0; query < tokens; ++query) {
    for (int64_t key = 0; key < tokens; ++key)
      *row++ = std::clamp<int64_t>(bucket_of(form, query - key) + form.span, 0, 2 * form.span - 1);
  }
  return rows_TT;
}

at::Tensor products(const at::Tensor& x_THE, const at::Tensor& position_RHE) {
  return at::bmm(x_THE.transpose(0, 1), position_RHE.permute({1, 2, 0}));  // [H, T, R]
}

}  // namespace

at::Tensor disentangled_bias(const graph::Disentangled& form, const at::Tensor& q_THE, const at::Tensor& k_THE,
                             const at::Tensor& position_query_RHE, const at::Tensor& position_key_RHE) {
  const int64_t tokens = q_THE.size(0), heads = q_THE.size(1);
  const at::Tensor rows_TT = rows_of(form, tokens).to(q_THE.device());
  at::Tensor out_HTT = at::zeros({heads, tokens, tokens}, q_THE.options());
  if (position_key_RHE.defined())
    out_HTT.add_(products(q_THE, position_key_RHE).gather(2, rows_TT.expand({heads, tokens, tokens})));
  if (position_query_RHE.defined()) {
    const at::Tensor by_key_HTT =
        products(k_THE, position_query_RHE).gather(2, rows_TT.t().expand({heads, tokens, tokens}));
    out_HTT.add_(by_key_HTT.transpose(1, 2));
  }
  return out_HTT;
}

}  // namespace swage::model
