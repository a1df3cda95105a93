#include <algorithm>

#include "swage/base/error.h"
#include "swage/observers/kinds.h"
#include "swage/solvers/range_search.h"

namespace swage::observers {
namespace {

RangeFactors with_settings(RangeFactors f, const Json& settings) {
  f.expand = settings.get_double("expand", f.expand);
  f.maxshrink = settings.get_double("maxshrink", f.maxshrink);
  f.grid = settings.get_double("grid", f.grid);
  f.norm = settings.get_double("norm", f.norm);
  f.patience = settings.get_int("patience", f.patience);
  SWAGE_CHECK(f.expand >= 1 && f.maxshrink > 0 && f.maxshrink < 1 && f.grid >= 1 && f.grid <= 1e6 && f.norm > 0 &&
                  f.patience >= 0,
              InvalidArgument, "mse observer: expand ", f.expand, ", maxshrink ", f.maxshrink, ", grid ", f.grid,
              ", norm ", f.norm, ", patience ", f.patience,
              ": expected expand >= 1, 0 < maxshrink < 1, grid >= 1, norm > 0, patience >= 0");
  return f;
}

class Mse final : public Observer {
 public:
  Mse(const scheme::QuantizationArgs& args, Role role, Memory memory, const RangeFactors& factors)
      : Observer(args, role),
        factors_(factors),
        memory_(memory, args.observer_kwargs.get_double("averaging_constant", 0.01)) {
    weighs_columns_ = factors.importance;
  }

 protected:
  BatchRange measure(const at::Tensor& x, const solvers::GridSpec& given) const override {
    SWAGE_CHECK(!weighs_columns_ || importance_I_.defined(), InvalidArgument,
                "imatrix observer: set_importance() has not been called");
    solvers::GridSpec spec = given;
    if (spec.scale_dtype == at::kFloat8_e4m3fn) spec.scale_dtype = x.scalar_type();
    solvers::FactorSearch search;
    search.norm = factors_.norm;
    search.patience = factors_.patience;
    search.importance_I = importance_I_;
    const int steps = static_cast<int>(factors_.maxshrink * factors_.grid) + (factors_.importance ? 1 : 0);
    for (int i = 0; i < std::max(steps, 1); ++i)
      search.factors.push_back(static_cast<float>(factors_.expand * (1 - i / factors_.grid)));
    const at::Tensor factors = solvers::best_range_factors(x, spec, search);
    const solvers::GroupRanges ranges = solvers::ranges_of_groups(x, spec);
    // p = 1 - i / grid of the factor expand * p.
    const at::Tensor step = factors.to(at::kDouble).div(factors_.expand).sub(1).mul(-factors_.grid).round();
    const at::Tensor p = step.div(-factors_.grid).add(1).to(at::kFloat);
    const auto shrunk =
        [&](const at::Tensor& range) {  // in the reference's two steps, each rounded to the values' dtype
          const at::Tensor wide = range.mul(factors_.expand).to(x.scalar_type());
          return wide.to(at::kFloat).mul(p).to(x.scalar_type());
        };
    return {shrunk(ranges.low), shrunk(ranges.high)};
  }
  void join(const BatchRange& batch) override { take(memory_.low(low(), batch.low), memory_.high(high(), batch.high)); }

 private:
  RangeFactors factors_;
  RangeMemory memory_;
};

}  // namespace

std::unique_ptr<Observer> make_mse(const scheme::QuantizationArgs& args, Role role, Memory memory,
                                   const RangeFactors& defaults) {
  const RangeFactors factors = with_settings(defaults, args.observer_kwargs);
  SWAGE_CHECK(!factors.importance || role == Role::Weight, InvalidArgument,
              "imatrix observer: only weights have an importance of columns");
  return std::make_unique<Mse>(args, role, memory, factors);
}

}  // namespace swage::observers
