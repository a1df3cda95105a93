#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "swage/base/error.h"
#include "swage/observers/kinds.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::observers {
namespace {

// The value that a share of `values` lies below, between neighbours linearly. Reorders them.
float quantile(std::vector<float>& values, double share) {
  const double place = share * static_cast<double>(values.size() - 1);
  const auto below = values.begin() + static_cast<int64_t>(place);
  std::nth_element(values.begin(), below, values.end());
  const float next = below + 1 == values.end() ? *below : *std::min_element(below + 1, values.end());
  return *below + static_cast<float>(place - std::floor(place)) * (next - *below);
}

class Percentile final : public Observer {
 public:
  Percentile(const scheme::QuantizationArgs& args, Role role)
      : Observer(args, role),
        share_(args.observer_kwargs.get_double("percentile", 99.99) / 100) {
    SWAGE_CHECK(share_ > 0.5 && share_ <= 1, InvalidArgument, "percentile observer: percentile ", share_ * 100,
                ": expected above 50, up to 100");
  }

 protected:
  BatchRange measure(const at::Tensor& x, const solvers::GridSpec& spec) const override {
    const int64_t rows = x.size(0), columns = x.size(1);
    const int64_t height = spec.group_rows == 0 ? rows : spec.group_rows,
                  width = spec.group_size == 0 ? columns : spec.group_size;
    const int64_t across = solvers::groups_of(spec, columns), down = (rows + height - 1) / height;
    at::Tensor low = at::empty({down, across}), high = at::empty({down, across});
    const at::Tensor values = x.to(at::kFloat).contiguous();
    ops::parallel_tasks(
        down * across, [] { return std::vector<float>(); },
        [&](int64_t tile, std::vector<float>& scratch) {
          const int64_t row0 = tile / across * height, column0 = tile % across * width;
          scratch.clear();
          for (int64_t r = row0; r < std::min(rows, row0 + height); ++r) {
            const float* from = values.const_data_ptr<float>() + r * columns;
            scratch.insert(scratch.end(), from + column0, from + std::min(columns, column0 + width));
          }
          low.mutable_data_ptr<float>()[tile] = quantile(scratch, 1 - share_);
          high.mutable_data_ptr<float>()[tile] = quantile(scratch, share_);
        });
    if (spec.group_rows == 0 && spec.group_size == 0) low = low.view({1}), high = high.view({1});
    return {low.to(x.scalar_type()), high.to(x.scalar_type())};
  }

  // The mean over all batches, each as often as it has values.
  void join(const BatchRange& batch) override {
    const at::Tensor lows = batch.low.to(at::kDouble).mul(batch.values),
                     highs = batch.high.to(at::kDouble).mul(batch.values);
    low_sum_ = low_sum_.defined() ? low_sum_.add(lows) : lows;
    high_sum_ = high_sum_.defined() ? high_sum_.add(highs) : highs;
    values_ += batch.values;
    take(low_sum_.div(values_).to(batch.low.scalar_type()), high_sum_.div(values_).to(batch.low.scalar_type()));
  }

 private:
  double share_, values_ = 0;
  at::Tensor low_sum_, high_sum_;
};

}  // namespace

std::unique_ptr<Observer> make_percentile(const scheme::QuantizationArgs& args, Role role) {
  return std::make_unique<Percentile>(args, role);
}

}  // namespace swage::observers
