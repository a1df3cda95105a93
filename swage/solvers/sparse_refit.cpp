#include "swage/solvers/sparse_refit.h"
#include "swage/ops/device.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/panels.h"
#include "swage/solvers/prune_masks.h"
#include "swage/solvers/refine.h"

namespace swage::solvers {
namespace {

using kernels::kPanel;

constexpr int64_t kPieceColumns = 96;  // that are refitted together, at most
constexpr int64_t kMostSupports = 70;  // those of 4:8

// The supports of a group: which `kept` of its columns are not zero.
struct Supports {
  int64_t group = 0, kept = 0, count = 0;
  std::vector<uint8_t> members;  // [count, kept], in lexical order
};

Supports supports_of(const SparsityPattern& pattern) {
  Supports out{pattern.group, pattern.group - pattern.dropped, 0, {}};
  std::vector<uint8_t> chosen(size_t(out.kept));
  std::iota(chosen.begin(), chosen.end(), uint8_t{0});
  for (;;) {
    out.members.insert(out.members.end(), chosen.begin(), chosen.end());
    ++out.count;
    int64_t i = out.kept - 1;
    while (i >= 0 && chosen[size_t(i)] == out.group - out.kept + i) --i;
    if (i < 0) return out;
    ++chosen[size_t(i)];
    for (int64_t j = i + 1; j < out.kept; ++j) chosen[size_t(j)] = uint8_t(chosen[size_t(j - 1)] + 1);
  }
}

bool few_supports(const SparsityPattern& pattern) {
  if (!pattern.grouped() || pattern.group > kernels::kLongestSwapGroup) return false;
  double count = 1;
  for (int64_t i = 1; i <= pattern.dropped; ++i) count *= double(pattern.group - pattern.dropped + i) / double(i);
  return count < double(kMostSupports) + 0.5;
}

// Gauss-Jordan without pivoting, which positive definite matrices do not need. [n, n] in place.
void invert(std::vector<double>& a, int64_t n) {
  const auto at = [&](int64_t r, int64_t c) -> double& { return a[size_t(r * n + c)]; };
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = 1 / at(p, p);
    at(p, p) = 1;
    for (int64_t c = 0; c < n; ++c) at(p, c) *= pivot;
    for (int64_t r = 0; r < n; ++r) {
      if (r == p) continue;
      const double factor = at(r, p);
      at(r, p) = 0;
      for (int64_t c = 0; c < n; ++c) at(r, c) -= factor * at(p, c);
    }
  }
}

// Columns that are refitted together.
struct Piece {
  int64_t first, count;
  std::vector<float> gram, inverse_diagonal;  // [count, count], [count]
  std::vector<float> inverse;                 // [count / M, supports, K, K]
};

void append_inverses(const Supports& supports, double least, Piece& piece) {
  std::vector<double> block(size_t(supports.kept * supports.kept));
  for (int64_t first = 0; first < piece.count; first += supports.group) {
    for (int64_t s = 0; s < supports.count; ++s) {
      const uint8_t* member = supports.members.data() + s * supports.kept;
      for (int64_t a = 0; a < supports.kept; ++a) {
        for (int64_t b = 0; b < supports.kept; ++b) {
          const double h = double(piece.gram[size_t((first + member[a]) * piece.count + first + member[b])]);
          block[size_t(a * supports.kept + b)] = h + (a == b ? least : 0.0);  // two columns may be the same
        }
      }
      invert(block, supports.kept);
      for (const double x : block) piece.inverse.push_back(float(x));
    }
  }
}

std::vector<Piece> pieces_of(const at::Tensor& gram_II, const Supports& supports) {
  const int64_t columns = gram_II.size(0);
  const int64_t most = supports.group > 0 ? kPieceColumns / supports.group * supports.group : kPieceColumns;
  const float* gram = gram_II.const_data_ptr<float>();
  double mean = 0;
  for (int64_t i = 0; i < columns; ++i) mean += double(gram[i * columns + i]) / double(columns);
  const double least = mean * kLeastDiagonal;
  std::vector<Piece> out;
  for (int64_t first = 0; first < columns; first += most) {
    Piece piece{first, std::min(most, columns - first), {}, {}, {}};
    for (int64_t i = 0; i < piece.count; ++i) {
      const float* row = gram + (first + i) * columns + first;
      piece.gram.insert(piece.gram.end(), row, row + piece.count);
      piece.inverse_diagonal.push_back(double(row[i]) > least ? 1.0f / row[i] : 0.0f);
    }
    if (supports.group > 0) append_inverses(supports, least, piece);
    out.push_back(std::move(piece));
  }
  return out;
}

struct Scratch {
  at::Tensor gradient, value, change;  // [kPieceColumns, kPanel]
  at::Tensor change_RK;                // [kTaskRows, kPieceColumns]: the piece's change for all rows of the task
};

Scratch make_scratch() {
  const auto panel = [] { return at::empty({kPieceColumns, kPanel}, at::kFloat); };
  return {panel(), panel(), panel(), at::empty({kTaskRows, kPieceColumns}, at::kFloat)};
}

class SparseRefit {
 public:
  SparseRefit(const at::Tensor& gram_II, const SparseRefitOptions& options, at::Tensor& q_OI)
      : gram_II_(gram_II),
        sweeps_(options.sweeps),
        columns_(gram_II.size(0)),
        supports_(options.swap && few_supports(options.pattern) ? supports_of(options.pattern) : Supports()),
        pieces_(pieces_of(gram_II, supports_)),
        q_(q_OI.mutable_data_ptr<float>()) {}

  // `error_RI` is W - Q of the rows from `first` on. Returns their loss.
  double run(int64_t first, at::Tensor error_RI, Scratch& scratch) const {
    at::Tensor gradient_RI = at::mm(error_RI, gram_II_);
    for (int sweep = 0; sweep < sweeps_; ++sweep) {
      for (const Piece& piece : pieces_) {
        for (int64_t r = 0; r < error_RI.size(0); r += kPanel) refit_panel(first, r, piece, gradient_RI, scratch);
        const at::Tensor change_RK = scratch.change_RK.narrow(0, 0, error_RI.size(0)).narrow(1, 0, piece.count);
        gradient_RI.addmm_(change_RK, gram_II_.narrow(0, piece.first, piece.count), 1, -1);
        error_RI.narrow(1, piece.first, piece.count).sub_(change_RK);
      }
    }
    return error_RI.mul(gradient_RI).sum(at::kDouble).item<double>();
  }

 private:
  // Rows first + r and following, at most a panel of them.
  void refit_panel(int64_t first, int64_t r, const Piece& piece, const at::Tensor& gradient_RI, Scratch& s) const {
    const int64_t lanes = std::min(kPanel, gradient_RI.size(0) - r);
    float* gradient = s.gradient.mutable_data_ptr<float>();
    float* value = s.value.mutable_data_ptr<float>();
    float* change = s.change.mutable_data_ptr<float>();
    float* q = q_ + (first + r) * columns_ + piece.first;
    load_panel(gradient_RI.const_data_ptr<float>() + r * columns_ + piece.first, columns_, lanes, piece.count,
               gradient);
    load_panel(q, columns_, lanes, piece.count, value);
    kernels::fast_kernels().sparse_refit_panel({piece.count, piece.gram.data(), piece.inverse_diagonal.data(), gradient,
                                                value, change, supports_.group, supports_.kept, supports_.count,
                                                supports_.members.data(), piece.inverse.data()});
    store_panel(value, lanes, piece.count, columns_, q);
    store_panel(change, lanes, piece.count, kPieceColumns, s.change_RK.mutable_data_ptr<float>() + r * kPieceColumns);
  }

  const at::Tensor& gram_II_;
  const int sweeps_;
  const int64_t columns_;
  const Supports supports_;
  const std::vector<Piece> pieces_;
  float* q_;
};

}  // namespace

double sparse_refit(const at::Tensor& w_OI, const at::Tensor& gram_II, const SparseRefitOptions& options,
                    at::Tensor& q_OI) {
  const auto is_float_matrix = [](const at::Tensor& x) { return ops::is_host_matrix(x, at::kFloat); };
  SWAGE_CHECK(is_float_matrix(w_OI) && is_float_matrix(gram_II) && is_float_matrix(q_OI) && gram_II.is_contiguous() &&
                  q_OI.is_contiguous() && gram_II.size(0) == w_OI.size(1) && gram_II.size(1) == w_OI.size(1) &&
                  q_OI.sizes() == w_OI.sizes(),
              InvalidArgument, "sparse_refit: a weight ", w_OI.sizes(), " of ", w_OI.scalar_type(), ", pruned ",
              q_OI.sizes(), " of ", q_OI.scalar_type(), ", and a Gram matrix ", gram_II.sizes(), " of ",
              gram_II.scalar_type());
  check_pattern("sparse_refit", options.pattern, w_OI.size(1));
  const int64_t rows = w_OI.size(0);
  const at::Tensor error_OI = at::sub(w_OI, q_OI);
  const SparseRefit refit(gram_II, options, q_OI);
  std::vector<double> loss(size_t((rows + kTaskRows - 1) / kTaskRows));
  ops::parallel_tasks(int64_t(loss.size()), make_scratch, [&](int64_t task, Scratch& scratch) {
    const int64_t first = task * kTaskRows;
    loss[size_t(task)] = refit.run(first, error_OI.narrow(0, first, std::min(kTaskRows, rows - first)), scratch);
  });
  return std::accumulate(loss.begin(), loss.end(), 0.0);
}

}  // namespace swage::solvers
