#include "swage/solvers/target.h"

#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/panels.h"
#include "swage/solvers/tiled_algebra.h"
#include "swage/solvers/upper_cholesky.h"

namespace swage::solvers {
namespace {

constexpr std::array kRidges = {0.01, 0.03, 0.1, 0.3, 1.0, 3.0};
// At least, of each linear: what more of them say about the ridge is not worth the solves.
constexpr int64_t kJudgedRows = 128;

// From one row that the ridge is judged by to the next.
int64_t judged_step(int64_t rows) { return std::max<int64_t>(1, rows / kJudgedRows); }

std::optional<FactoredSolver> solver_of(const at::Tensor& gram_II, double ridge) {
  const int64_t n = gram_II.size(0);
  const double added = ridge * gram_II.diagonal().mean().item<double>();
  const double* gram = gram_II.const_data_ptr<double>();
  UpperCholesky u = upper_cholesky(n, [&](int64_t i, int64_t j) { return gram[i * n + j] + (i == j ? added : 0.0); });
  if (!u.ok()) return {};
  return FactoredSolver(std::move(u));
}

// D: the error that the outputs of these rows have on the inputs of `moments`, times those inputs. The rows are every
// `step`-th of the linear's.
at::Tensor errors(const at::Tensor& w_OI, const TargetMoments& moments, int64_t step) {
  at::Tensor out_OI = at::zeros_like(w_OI);
  if (moments.residual_OI.defined()) out_OI.copy_(moments.residual_OI.slice(0, 0, std::nullopt, step));
  add_product(w_OI, moments.inputs_II, 1, out_OI);
  return out_OI;
}

double dot(const double* a, const double* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += a[i] * b[i];
  return sum;
}

// By how much a change of the weights lowers the squared error: 2 tr(dW D^T) - tr(dW H dW^T). Takes 2 D, which it
// overwrites: matrices of a whole linear are what a run of this quality needs most memory for.
double gain(const at::Tensor& change_OI, const at::Tensor& gram_II, at::Tensor slope_OI) {
  add_product(change_OI, gram_II, -1, slope_OI);
  const int64_t columns = change_OI.size(1);
  const double *slope = slope_OI.const_data_ptr<double>(), *change = change_OI.const_data_ptr<double>();
  return ops::sum_by_rows(change_OI.size(0), [&](int64_t first, int64_t rows) {
    return dot(slope + first * columns, change + first * columns, rows * columns);
  });
}

double energy(const at::Tensor& w_OI, const at::Tensor& gram_II) {
  return std::max(-gain(w_OI, gram_II, at::zeros_like(w_OI)), 1e-300);
}

// One linear. Everything f64.
class Target {
 public:
  Target(const at::Tensor& w_OI, const TargetMoments& fit, const TargetMoments& held_out)
      : w_OI_(w_OI.to(at::kCPU, at::kDouble).contiguous()),
        fit_(fit),
        held_out_(held_out),
        step_(judged_step(w_OI.size(0))),
        judged_OI_(w_OI_.slice(0, 0, std::nullopt, step_).contiguous()),
        fit_OI_(errors(judged_OI_, fit, step_)),
        held_OI_(errors(judged_OI_, held_out, step_)) {}

  // Tries the correction that `solver` gives on the tokens of the fit.
  void consider(double ridge, const FactoredSolver& solver) {
    const double gained = gain(solver.solve(fit_OI_), held_out_.gram_II, held_OI_.mul(2));
    if (gained <= best_gain_) return;
    best_gain_ = gained;
    ridge_ = ridge;
  }
  double ridge() const { return ridge_; }

  // `solver`: of the chosen ridge on the tokens of both; none if there is no ridge.
  CorrectedTarget finish(const std::optional<FactoredSolver>& solver) const {
    CorrectedTarget out{w_OI_.to(at::kFloat), ridge_, 0, 0};
    if (!solver) return out;
    at::Tensor error_OI = errors(w_OI_, fit_, 1);
    at::Tensor change_OI = solver->solve(errors(w_OI_, held_out_, 1).add_(error_OI));
    const double gained = gain(change_OI, fit_.gram_II, std::move(error_OI.mul_(2)));
    out.weight_OI = w_OI_.add(change_OI).to(at::kFloat);
    change_OI.reset();
    out.fitted = gained / energy(w_OI_, fit_.gram_II);
    out.held_out = best_gain_ / energy(judged_OI_, held_out_.gram_II);
    return out;
  }

 private:
  const at::Tensor w_OI_;
  const TargetMoments &fit_, &held_out_;
  const int64_t step_;
  const at::Tensor judged_OI_, fit_OI_, held_OI_;
  double best_gain_ = 0, ridge_ = 0;
};

void check(const std::vector<at::Tensor>& weights, const TargetMoments& moments) {
  const int64_t n = moments.gram_II.size(0);
  for (const at::Tensor* matrix : {&moments.gram_II, &moments.inputs_II}) {
    SWAGE_CHECK(matrix->dim() == 2 && matrix->size(0) == n && matrix->size(1) == n &&
                    matrix->scalar_type() == at::kDouble && matrix->is_contiguous(),
                InvalidArgument, "correct_targets: expected f64 moments [", n, ", ", n, "], got ",
                matrix->scalar_type(), " ", matrix->sizes());
    SWAGE_CHECK(matrix->isfinite().all().item<bool>(), Numerical, "correct_targets: the moments hold NaN or infinity");
  }
  for (const at::Tensor& w_OI : weights) {
    SWAGE_CHECK(w_OI.dim() == 2 && w_OI.size(1) == n &&
                    (!moments.residual_OI.defined() || moments.residual_OI.sizes() == w_OI.sizes()),
                InvalidArgument, "correct_targets: a weight ", w_OI.sizes(), " for moments of ", n, " columns");
  }
}

}  // namespace

std::vector<CorrectedTarget> correct_targets(const std::vector<at::Tensor>& weights, const TargetMoments& fit,
                                             const TargetMoments& held_out) {
  check(weights, fit);
  check(weights, held_out);
  std::vector<Target> targets;
  for (const at::Tensor& w_OI : weights) targets.emplace_back(w_OI, fit, held_out);
  for (const double ridge : kRidges) {
    const std::optional<FactoredSolver> solver = solver_of(fit.gram_II, ridge);
    if (!solver) continue;
    for (Target& target : targets) target.consider(ridge, *solver);
  }
  const at::Tensor gram_II = fit.gram_II.add(held_out.gram_II);
  std::vector<CorrectedTarget> out;
  for (const Target& target : targets)
    out.push_back(target.finish(target.ridge() == 0 ? std::nullopt : solver_of(gram_II, target.ridge())));
  return out;
}

// Of each linear its weight, three matrices of the rows that are judged, and what is returned; of the largest its
// errors, their sum and the change, or what a product makes of one of these; the sum of both Gram matrices, and a
// factor twice.
double target_bytes(std::span<const int64_t> rows, int64_t columns, int threads) {
  double all = 0, returned = 0, largest = 0;
  for (const int64_t count : rows) {
    const int64_t step = judged_step(count), judged = (count + step - 1) / step;
    all += double(count + 3 * judged);
    returned += double(count);
    largest = std::max(largest, double(count));
  }
  const double n = double(columns), panels = double(kernels::kPanel) * n * threads;
  return sizeof(double) * ((all + 3 * largest) * n + 2 * n * n + panels) + sizeof(float) * returned * n;
}

}  // namespace swage::solvers
