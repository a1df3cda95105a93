#include "swage/solvers/refine.h"
#include "swage/ops/device.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "swage/base/error.h"
#include "swage/ops/parallel_tasks.h"
#include "swage/solvers/grid_internal.h"
#include "swage/solvers/panels.h"

namespace swage::solvers {
namespace {

using kernels::kPanel;

// Columns that are refined together: a group, or a piece of one.
struct Piece {
  int64_t first, count, group;
  bool whole;
  std::vector<float> gram, inverse_diagonal;  // [count, count], [count]
};

std::vector<Piece> pieces_of(const at::Tensor& gram_II, int64_t groups) {
  const int64_t columns = gram_II.size(0), group = columns / groups, most = kernels::kLongestRefit;
  const float* gram = gram_II.const_data_ptr<float>();
  double mean = 0;
  for (int64_t i = 0; i < columns; ++i) mean += gram[i * columns + i] / double(columns);
  const float least = float(mean * kLeastDiagonal);
  std::vector<Piece> out;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t first = g * group; first < (g + 1) * group; first += most) {
      Piece piece{first, std::min(most, (g + 1) * group - first), g, group <= most, {}, {}};
      for (int64_t i = 0; i < piece.count; ++i) {
        const float* row = gram + (first + i) * columns + first;
        piece.gram.insert(piece.gram.end(), row, row + piece.count);
        piece.inverse_diagonal.push_back(1.0f / std::max(row[i], least));
      }
      out.push_back(std::move(piece));
    }
  }
  return out;
}

// A piece of one panel, columns one after the other with kPanel rows each.
struct Scratch {
  at::Tensor gradient, code, change, keep;  // [kLongestRefit, kPanel]
  at::Tensor change_RK;                     // [kTaskRows, kLongestRefit]: the piece's change for all rows of the task
  alignas(64) float scale[kPanel], zero[kPanel];
};

constexpr double kScratchNumbers = 4.0 * kernels::kLongestRefit * kPanel + 1.0 * kTaskRows * kernels::kLongestRefit;

Scratch make_scratch() {
  const auto panel = [] { return at::empty({kernels::kLongestRefit, kPanel}, at::kFloat); };
  return {panel(), panel(), panel(), panel(), at::empty({kTaskRows, kernels::kLongestRefit}, at::kFloat), {}, {}};
}

class Refinement {
 public:
  Refinement(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options, at::Tensor& codes_OI,
             Grid& grid)
      : w_OI_(w_OI),
        gram_II_(gram_II),
        options_(options),
        columns_(gram_II.size(0)),
        groups_(grid.scale_OG.size(1)),
        pieces_(pieces_of(gram_II, groups_)),
        range_(code_range_of(grid.spec)),
        rule_(formula_of(grid.spec, grid.global_scale).rule),
        codes_(static_cast<uint8_t*>(codes_OI.mutable_data_ptr())),
        scale_(grid.scale_OG.mutable_data_ptr<float>()),
        zero_(grid.zero_point_OG.defined() ? grid.zero_point_OG.const_data_ptr<float>() : nullptr) {}

  // `error_RI` is W - Q of the rows from `first` on. Returns their loss.
  double run(int64_t first, at::Tensor error_RI, Scratch& scratch) {
    at::Tensor gradient_RI = at::mm(error_RI, gram_II_);
    for (int sweep = 0; sweep < options_.sweeps; ++sweep) {
      for (const Piece& piece : pieces_) {
        for (int64_t r = 0; r < error_RI.size(0); r += kPanel) refine_panel(first, r, piece, gradient_RI, scratch);
        const at::Tensor change_RK = scratch.change_RK.narrow(0, 0, error_RI.size(0)).narrow(1, 0, piece.count);
        gradient_RI.addmm_(change_RK, gram_II_.narrow(0, piece.first, piece.count), 1, -1);
        error_RI.narrow(1, piece.first, piece.count).sub_(change_RK);
      }
    }
    return error_RI.mul(gradient_RI).sum(at::kDouble).item<double>();
  }

 private:
  // Rows first + r and following, at most a panel of them; lanes without a row repeat the last one.
  void refine_panel(int64_t first, int64_t r, const Piece& piece, const at::Tensor& gradient_RI, Scratch& s) {
    const int64_t lanes = std::min(kPanel, gradient_RI.size(0) - r);
    float* gradient = s.gradient.mutable_data_ptr<float>();
    float* code = s.code.mutable_data_ptr<float>();
    float* change = s.change.mutable_data_ptr<float>();
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      const int64_t row = r + std::min(lane, lanes - 1);
      const float* from = gradient_RI.const_data_ptr<float>() + row * columns_ + piece.first;
      const uint8_t* codes = codes_ + (first + row) * columns_ + piece.first;
      for (int64_t i = 0; i < piece.count; ++i) {
        gradient[i * kPanel + lane] = from[i];
        code[i * kPanel + lane] = kernels::decode_code(range_.kind, codes[i]);
      }
      s.scale[lane] = scale_[(first + row) * groups_ + piece.group];
      s.zero[lane] = zero_ == nullptr ? 0 : zero_[(first + row) * groups_ + piece.group];
    }
    kernels::fast_kernels().refine_panel({piece.count, piece.gram.data(), piece.inverse_diagonal.data(), gradient, code,
                                          s.scale, s.zero, options_.refit_scales && piece.whole, rule_, range_, change,
                                          load_mask(first + r, lanes, piece, s)});
    for (int64_t lane = 0; lane < lanes; ++lane) {
      uint8_t* codes = codes_ + (first + r + lane) * columns_ + piece.first;
      float* to = s.change_RK.mutable_data_ptr<float>() + (r + lane) * kernels::kLongestRefit;
      for (int64_t i = 0; i < piece.count; ++i) {
        codes[i] = kernels::encode_code(range_.kind, code[i * kPanel + lane]);
        to[i] = change[i * kPanel + lane];
      }
      scale_[(first + r + lane) * groups_ + piece.group] = s.scale[lane];
    }
  }

  // Of the rows first + r and following, 1 where the weight is not 0; null if zeros need not be kept.
  const float* load_mask(int64_t first, int64_t lanes, const Piece& piece, Scratch& s) const {
    if (!options_.keep_zeros) return nullptr;
    float* keep = s.keep.mutable_data_ptr<float>();
    load_panel(w_OI_.const_data_ptr<float>() + first * columns_ + piece.first, columns_, lanes, piece.count, keep);
    for (int64_t i = 0; i < piece.count * kPanel; ++i) keep[i] = keep[i] == 0 ? 0.0f : 1.0f;
    return keep;
  }

  const at::Tensor w_OI_;
  const at::Tensor& gram_II_;
  const RefineOptions& options_;
  const int64_t columns_, groups_;
  const std::vector<Piece> pieces_;
  const kernels::CodeRange range_;
  const kernels::ScaleRule rule_;
  uint8_t* codes_;
  float* scale_;
  const float* zero_;
};

// Whether every row has its own scales of consecutive columns.
bool scales_by_row(const Grid& grid) {
  return grid.spec.group_rows == 1 && !grid.g_idx_I.defined() && grid.scale_OG.dim() == 2;
}

}  // namespace

double refine(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options, at::Tensor& codes_OI,
              Grid& grid) {
  const int64_t rows = w_OI.size(0), columns = w_OI.size(1);
  SWAGE_CHECK(ops::is_host_matrix(w_OI, at::kFloat) && ops::is_host_matrix(gram_II, at::kFloat) &&
                  gram_II.is_contiguous() && gram_II.size(0) == columns && gram_II.size(1) == columns &&
                  codes_OI.is_contiguous() && codes_OI.sizes() == w_OI.sizes(),
              InvalidArgument, "refine: a weight ", w_OI.sizes(), " of ", w_OI.scalar_type(), " with codes ",
              codes_OI.sizes(), " and a Gram matrix ", gram_II.sizes(), " of ", gram_II.scalar_type());
  RefineOptions used = options;
  if (!scales_by_row(grid)) used.sweeps = 0;
  grid.scale_OG = grid.scale_OG.contiguous();
  if (grid.zero_point_OG.defined()) grid.zero_point_OG = grid.zero_point_OG.contiguous();
  if (used.sweeps == 0) {
    const at::Tensor error_OI = at::sub(w_OI, dequantize_from_grid(codes_OI, grid));
    return ops::sum_by_rows(rows, [&](int64_t first, int64_t count) {
      const at::Tensor error_RI = error_OI.narrow(0, first, count);
      return at::mm(error_RI, gram_II).mul_(error_RI).sum(at::kDouble).item<double>();
    });
  }
  const at::Tensor error_OI = at::sub(w_OI, dequantize_from_grid(codes_OI, grid));
  Refinement refinement(w_OI.contiguous(), gram_II, used, codes_OI, grid);
  std::vector<double> loss(static_cast<size_t>((rows + kTaskRows - 1) / kTaskRows));
  ops::parallel_tasks(static_cast<int64_t>(loss.size()), make_scratch, [&](int64_t task, Scratch& scratch) {
    const int64_t first = task * kTaskRows;
    loss[static_cast<size_t>(task)] =
        refinement.run(first, error_OI.narrow(0, first, std::min(kTaskRows, rows - first)), scratch);
  });
  double sum = 0;
  for (const double part : loss) sum += part;
  return sum;
}

// The error and what codes mean of the whole weight; of a task its gradient, and what the two multiply to, which is
// summed as doubles.
double refine_bytes(int64_t rows, int64_t columns, int threads) {
  const double tasks = std::min(double(threads), std::ceil(double(rows) / double(kTaskRows)));
  return 8.0 * double(rows) * double(columns) +
         tasks * (16.0 * double(std::min(rows, kTaskRows)) * double(columns) + 4 * kScratchNumbers);
}

}  // namespace swage::solvers
