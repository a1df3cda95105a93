#include "swage/ops/transform.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/ops/rows_alone.h"

namespace swage::ops {
namespace {

constexpr int64_t kPieceNumbers = int64_t{1} << 18;  // that one task multiplies: a MiB

// Rows [first, first + count) of entries, f32, on the CPU.
at::Tensor rows_of(const at::Tensor& entries_NN, int64_t first, int64_t count) {
  return entries_NN.narrow(0, first, count).to(at::kCPU, at::kFloat).contiguous();
}

// Factors of a matrix of ones and minus ones, inner of b columns, whose first columns are made ones: the signs take up
// what that costs. Nothing if it has none of that size.
std::optional<Transform> factored(const at::Tensor& entries_NN, int64_t b, double scale) {
  const int64_t n = entries_NN.size(0), a = n / b;
  at::Tensor signs_N = entries_NN.select(1, 0).to(at::kCPU, at::kFloat).contiguous();
  const at::Tensor inner_BB = rows_of(entries_NN, 0, b).narrow(1, 0, b).mul(signs_N.narrow(0, 0, b).unsqueeze(1));
  at::Tensor outer_AA = at::empty({a, a}, at::kFloat);
  for (int64_t p = 0; p < a; ++p) {
    const at::Tensor rows_BN = rows_of(entries_NN, p * b, b);
    outer_AA[p].copy_(rows_BN[0].view({a, b}).select(1, 0).mul(signs_N[p * b]));
    const at::Tensor expected_BN =
        at::kron(outer_AA.narrow(0, p, 1), inner_BB).mul_(signs_N.narrow(0, p * b, b).unsqueeze(1));
    if (!rows_BN.equal(expected_BN) || !rows_BN.abs().eq(1).all().item<bool>()) return {};
  }
  const double inner_scale = 1 / std::sqrt(double(b));  // that of an orthogonal factor; the rest of it is the other's
  return Transform(std::move(signs_N), outer_AA.mul_(scale / inner_scale), inner_BB.mul(inner_scale));
}

// by_AA x for each x [A, B]; `alone`: each by itself.
at::Tensor by_left(const at::Tensor& by_AA, const at::Tensor& x_RAB, bool alone) {
  if (!alone) return at::matmul(by_AA, x_RAB);
  const at::Tensor x_SA = x_RAB.transpose(1, 2).reshape({-1, x_RAB.size(1)});
  return dot_rows(x_SA, by_AA, {}).view({x_RAB.size(0), x_RAB.size(2), -1}).transpose(1, 2).contiguous();
}

}  // namespace

Transform::Transform(at::Tensor signs_N, at::Tensor outer_AA, at::Tensor inner_BB)
    : size_(inner_BB.size(0) * (outer_AA.defined() ? outer_AA.size(0) : 1)),
      signs_N_(std::move(signs_N)),
      outer_AA_(std::move(outer_AA)),
      inner_BB_(std::move(inner_BB)) {}

Transform Transform::of_matrix(const at::Tensor& entries_NN, double scale) {
  SWAGE_CHECK(entries_NN.dim() == 2 && entries_NN.size(0) == entries_NN.size(1) && entries_NN.size(0) > 0 &&
                  entries_NN.is_floating_point(),
              InvalidArgument, "transform: expected a square matrix of floats, found ", entries_NN.sizes(), " of ",
              c10::toString(entries_NN.scalar_type()));
  const int64_t n = entries_NN.size(0);
  int64_t b = 1;
  while (b * b < n && n % (2 * b) == 0) b *= 2;
  for (; b > 1; b /= 2) {
    if (std::optional<Transform> found = factored(entries_NN, b, scale)) return *found;
  }
  const at::Tensor whole_NN = rows_of(entries_NN, 0, n).mul(scale);
  SWAGE_CHECK(at::isfinite(whole_NN).all().item<bool>(), Numerical, "transform: the matrix holds NaN or infinity");
  return Transform({}, {}, whole_NN);
}

Transform Transform::transposed() const {
  Transform out = *this;
  out.transposed_ = !transposed_;
  return out;
}

at::Tensor Transform::columns(const at::Tensor& x) const {
  if (!x.is_cpu() && x.scalar_type() != at::kFloat) return columns(x.to(at::kFloat));
  SWAGE_CHECK(x.dim() > 0 && x.size(-1) % size_ == 0 && x.scalar_type() == at::kFloat, InvalidArgument,
              "transform: ", x.sizes().back(), " columns are not runs of ", size_);
  const at::Tensor in_RN = x.cpu().contiguous().view({-1, size_});
  at::Tensor out_RN = at::empty(in_RN.sizes(), at::kFloat);
  const int64_t rows = in_RN.size(0), piece = std::max<int64_t>(1, kPieceNumbers / size_), inner = inner_BB_.size(0);
  const at::Tensor by_BB = transposed_ ? inner_BB_.t() : inner_BB_;
  const at::Tensor inner_rows_BB = RowsAlone::on() ? by_BB.t().contiguous() : at::Tensor();
  at::Tensor by_AA;  // from the left: the transposed factor
  if (outer_AA_.defined()) by_AA = transposed_ ? outer_AA_ : outer_AA_.t();
  parallel_tasks((rows + piece - 1) / piece, [] { return 0; },
                 [&](int64_t task, int) {
                   const int64_t first = task * piece, count = std::min(piece, rows - first);
                   at::Tensor part = in_RN.narrow(0, first, count);
                   if (signs_N_.defined() && !transposed_) part = part.mul(signs_N_);
                   part = part.reshape({-1, inner});
                   part = inner_rows_BB.defined() ? dot_rows(part, inner_rows_BB, {}) : at::mm(part, by_BB);
                   if (by_AA.defined())
                     part = by_left(by_AA, part.view({count, size_ / inner, inner}), inner_rows_BB.defined());
                   part = part.view({count, size_});
                   if (signs_N_.defined() && transposed_) part = part.mul(signs_N_);
                   out_RN.narrow(0, first, count).copy_(part);
                 });
  return out_RN.view(x.sizes()).to(x.device());
}

at::Tensor Transform::rows(const at::Tensor& x) const {
  return columns(x.transpose(-1, -2).contiguous()).transpose(-1, -2).contiguous();
}

at::Tensor Transform::matrix_rows(int64_t first, int64_t count) const {
  at::Tensor unit_RN = at::zeros({count, size_}, at::kFloat);
  unit_RN.narrow(1, first, count).diagonal().fill_(1);
  return columns(unit_RN);
}

}  // namespace swage::ops
