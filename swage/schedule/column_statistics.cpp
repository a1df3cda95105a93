#include "swage/schedule/column_statistics.h"

#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>

#include "swage/eval/forward.h"
#include "swage/ops/rows.h"

namespace swage::pipeline {

modifiers::ColumnStatistics column_statistics(const std::vector<model::Flow>& flows, bool mean,
                                              const std::function<void(size_t)>& done) {
  std::vector<ops::ColumnRanges> of_flow(flows.size());
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    const at::Tensor& x_TI = flows[size_t(i)].input_TI;
    of_flow[size_t(i)] = ops::column_ranges(x_TI, mean);
    done(size_t(i));
  });
  modifiers::ColumnStatistics out{of_flow[0].low_I, of_flow[0].high_I, of_flow[0].sum_abs_I};
  int64_t tokens = flows[0].input_TI.size(0);
  for (size_t i = 1; i < flows.size(); ++i) {
    out.low_I = at::minimum(out.low_I, of_flow[i].low_I);
    out.high_I = at::maximum(out.high_I, of_flow[i].high_I);
    if (mean) out.mean_abs_I.add_(of_flow[i].sum_abs_I);
    tokens += flows[i].input_TI.size(0);
  }
  if (mean) out.mean_abs_I = out.mean_abs_I.div(tokens).to(at::kFloat);
  return out;
}

}  // namespace swage::pipeline
