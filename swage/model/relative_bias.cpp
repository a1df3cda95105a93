#include "swage/model/relative_bias.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>

#include <algorithm>
#include <cmath>

namespace swage::model {
namespace {

// Of a key `behind` positions after the query; below 0: before it. In float, as transformers has it: a distance on the
// edge of two buckets falls into the same one.
int64_t bucket_of(const graph::RelativeBias& form, int64_t behind) {
  const int64_t buckets = form.both_sides ? form.buckets / 2 : form.buckets;
  const int64_t first = form.both_sides && behind > 0 ? buckets : 0;
  const int64_t far = form.both_sides ? std::abs(behind) : std::max<int64_t>(0, -behind), exact = buckets / 2;
  if (far < exact) return first + far;
  const float share = std::log(float(far) / float(exact)) / float(std::log(double(form.distance) / double(exact)));
  return first + std::min(buckets - 1, exact + int64_t(share * float(buckets - exact)));
}

}  // namespace

at::Tensor relative_bias(const graph::RelativeBias& form, const at::Tensor& table_BH, int64_t queries, int64_t keys) {
  const at::Tensor buckets_TS = at::empty({queries, keys}, at::kLong);
  int64_t* bucket = buckets_TS.mutable_data_ptr<int64_t>();
  for (int64_t t = 0; t < queries; ++t) {
    for (int64_t s = 0; s < keys; ++s) *bucket++ = bucket_of(form, s - (keys - queries + t));
  }
  const at::Tensor rows = table_BH.index_select(0, buckets_TS.view({-1}).to(table_BH.device()));
  return rows.t().contiguous().view({table_BH.size(1), queries, keys});
}

}  // namespace swage::model
