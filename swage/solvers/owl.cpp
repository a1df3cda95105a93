#include "swage/solvers/owl.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/count_nonzero.h>
#include <ATen/ops/gt.h>

#include <algorithm>
#include <numeric>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::solvers {

double outlier_percent(std::span<const OwlLinear> layer, double m) {
  double sum = 0, count = 0, outliers = 0;
  for (const OwlLinear& linear : layer) {
    sum += ops::sum_by_rows(linear.w_OI.size(0), [&](int64_t first, int64_t rows) {
      return at::abs(linear.w_OI.narrow(0, first, rows)).mul_(linear.norm_I).sum(at::kDouble).item<double>();
    });
    count += double(linear.w_OI.numel());
  }
  SWAGE_CHECK(count > 0, InvalidArgument, "outlier_percent: a layer without linears");
  for (const OwlLinear& linear : layer) {
    const at::Tensor stands_out = at::gt(at::abs(linear.w_OI).mul_(linear.norm_I), m * sum / count);
    outliers += double(at::count_nonzero(stands_out).item<int64_t>());  // sum() would make int64 of each first
  }
  return 100 * outliers / count;
}

std::vector<double> owl_shares(const std::vector<double>& outlier_percents, double sparsity, double lambda) {
  SWAGE_CHECK(!outlier_percents.empty(), InvalidArgument, "owl_shares: no layers");
  const auto [least, most] = std::minmax_element(outlier_percents.begin(), outlier_percents.end());
  const double low = *least, stretch = *most > low ? 2 * lambda / (*most - low) : 0;
  std::vector<double> out;
  for (const double percent : outlier_percents) out.push_back((percent - low) * stretch);
  const double mean = std::accumulate(out.begin(), out.end(), 0.0) / double(out.size());
  for (double& x : out) {
    x = sparsity - (x - mean);
    SWAGE_CHECK(x >= 0 && x < 1, InvalidArgument, "owl_lmbda ", lambda, " is too large: with sparsity ", sparsity,
                " a layer would get ", x);
  }
  return out;
}

}  // namespace swage::solvers
