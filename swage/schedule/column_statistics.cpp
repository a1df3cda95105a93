#include "swage/schedule/column_statistics.h"

#include <ATen/ops/aminmax.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/zeros.h>

#include "swage/eval/forward.h"
#include "swage/model/row_kernels.h"

namespace swage::pipeline {
namespace {

// On a GPU, by tensor operations.
modifiers::ColumnStatistics of_rows_on_device(const at::Tensor& x_TI, bool mean) {
  const auto [low_I, high_I] = at::aminmax(x_TI, 0);
  return {low_I.to(at::kFloat), high_I.to(at::kFloat),
          mean ? x_TI.to(at::kFloat).abs_().sum(0, false, at::kDouble) : at::Tensor()};
}

modifiers::ColumnStatistics of_rows(const at::Tensor& x_TI, bool mean) {
  if (!x_TI.is_cpu()) return of_rows_on_device(x_TI, mean);
  const at::Tensor first_I = x_TI.select(0, 0);
  modifiers::ColumnStatistics out{first_I.clone(), first_I.clone(),
                                  mean ? at::zeros(first_I.sizes(), at::kDouble) : at::Tensor()};
  model::rows::column_ranges(x_TI.const_data_ptr<float>(), x_TI.size(0), x_TI.size(1),
                             out.low_I.mutable_data_ptr<float>(), out.high_I.mutable_data_ptr<float>(),
                             mean ? out.mean_abs_I.mutable_data_ptr<double>() : nullptr);
  return out;
}

}  // namespace

modifiers::ColumnStatistics column_statistics(const std::vector<model::Flow>& flows, bool mean,
                                              const std::function<void(size_t)>& done) {
  std::vector<modifiers::ColumnStatistics> of_flow(flows.size());
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    const at::Tensor& x_TI = flows[size_t(i)].input_TI;
    of_flow[size_t(i)] = of_rows(x_TI.contiguous(), mean);
    done(size_t(i));
  });
  modifiers::ColumnStatistics out = of_flow[0];
  int64_t tokens = flows[0].input_TI.size(0);
  for (size_t i = 1; i < flows.size(); ++i) {
    out.low_I = at::minimum(out.low_I, of_flow[i].low_I);
    out.high_I = at::maximum(out.high_I, of_flow[i].high_I);
    if (mean) out.mean_abs_I.add_(of_flow[i].mean_abs_I);
    tokens += flows[i].input_TI.size(0);
  }
  if (mean) out.mean_abs_I = out.mean_abs_I.div(tokens).to(at::kFloat);
  return out;
}

}  // namespace swage::pipeline
