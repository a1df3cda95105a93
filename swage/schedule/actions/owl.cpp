#include "swage/schedule/owl.h"

#include <algorithm>

#include "swage/ops/parallel_tasks.h"

namespace swage::pipeline::actions {
namespace {

constexpr double kSquares = 2;     // of what a linear reads, on a thread: turned, and squared
constexpr double kCountBytes = 5;  // of a weight: times its norm, and whether that is an outlier
constexpr double kSumBytes = 12;   // of one that is summed: times its norm, in f32 and in f64

// Norms of what the stage's linears read.
class MeasureNorms : public FloatAction {
 public:
  MeasureNorms(std::string at, int64_t b, int64_t s) : FloatAction(std::move(at)), b_(b), s_(s) {}

  void cost(PassCosts& costs) const override {
    const model::BlockShape& block = costs.block(b_);
    double columns = 0;
    for (const model::InputGroup& group : block.stages[size_t(s_)].groups) {
      for (const int index : group.linears) columns = std::max(columns, double(block.linears[size_t(index)].columns));
    }
    const double a_row = double(costs.in.row_tokens) * columns * kFloat;
    costs.ledger.moment({{"copies of inputs", costs.in.threads * kSquares * a_row + costs.in.rows * kFloat * columns}});
    costs.work().moved_bytes += costs.tokens * columns * kFloat;
  }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time("owl");
    pass.outliers->measure(*pass.block, pass.block->stages[size_t(s_)], *pass.activations);
  }

 private:
  int64_t b_, s_;
};

// Counts the weights of the block that stand out.
class CountOutliers : public FloatAction {
 public:
  CountOutliers(std::string at, int64_t b) : FloatAction(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override {
    double largest = 0;
    for (const model::ModuleInfo& linear : costs.block(b_).linears) {
      const int64_t summed = std::min(linear.rows, int64_t(costs.in.threads) * ops::kSummedRows);
      largest =
          std::max({largest, kCountBytes * double(linear.parameters()), kSumBytes * double(summed * linear.columns)});
      costs.work().moved_bytes += 2 * kFloat * double(linear.parameters());
    }
    costs.ledger.moment({{"outliers", largest}});
  }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time("owl");
    pass.outliers->count();
  }

 private:
  int64_t b_;
};

}  // namespace

FloatActionPtr measure_norms(std::string at, int64_t b, int64_t s) {
  return std::make_unique<MeasureNorms>(std::move(at), b, s);
}
FloatActionPtr count_outliers(std::string at, int64_t b) { return std::make_unique<CountOutliers>(std::move(at), b); }

}  // namespace swage::pipeline::actions
