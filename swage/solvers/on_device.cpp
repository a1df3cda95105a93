#include "swage/solvers/on_device.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/kernels/cuda/device_kernels.h"
#include "swage/ops/device.h"
#include "swage/solvers/grid_internal.h"

namespace swage::solvers {
namespace {

constexpr int64_t kSuperblock =
    1024;  // columns whose errors are carried to all later ones in one product, large enough for any GPU

const float* floats(const at::Tensor& x, at::Device device, const char* who) {
  return ops::data_on<float>(device, x, who);
}

// Codes as bytes, whatever their type.
at::Tensor as_bytes(const at::Tensor& codes) { return codes.view(at::kByte); }

}  // namespace

bool fits_device(const GridSpec& spec, int64_t columns) {
  return spec.group_rows == 1 && (spec.group_size == 0 || columns % spec.group_size == 0);
}

Grid to_device(Grid grid, at::Device device) {
  for (at::Tensor* tensor : {&grid.scale_OG, &grid.zero_point_OG, &grid.g_idx_I}) {
    if (tensor->defined()) *tensor = tensor->to(device);
  }
  return grid;
}

Grid DeviceSolver::find_grid(const at::Tensor& w_OI, const GridSpec& spec, const ScaleSearch& search) const {
  const at::Device device = w_OI.device();
  const int64_t rows = w_OI.size(0), columns = w_OI.size(1), group = spec.group_size == 0 ? columns : spec.group_size;
  SWAGE_CHECK(fits_device(spec, columns), Internal, "find_grid: a grid that the GPU does not search");
  Grid grid;
  grid.spec = spec;
  const Formula formula = formula_of(spec, {});
  const at::Tensor weight_OI = w_OI.to(at::kFloat).contiguous();
  const at::Tensor factors = at::tensor(factors_of(search, formula.rule.format)).to(device);
  const at::Tensor importance_I =
      search.importance_I.defined() ? search.importance_I.to(device, at::kFloat).contiguous() : at::Tensor();
  grid.scale_OG = at::empty({rows, columns / group}, weight_OI.options());
  if (!spec.symmetric) grid.zero_point_OG = at::empty({rows, columns / group}, weight_OI.options());
  const at::Tensor bad = at::zeros({1}, weight_OI.options().dtype(at::kInt));
  const char* who = "find_grid";
  ops::run(
      "search_scales", kernels_.search_scales,
      kernels::ScaleSearchRows{floats(weight_OI, device, who), rows, columns, group, floats(factors, device, who),
                               factors.numel(), float(search.norm), formula.codes, formula.symmetric, formula.divisor,
                               formula.rule, importance_I.defined() ? floats(importance_I, device, who) : nullptr,
                               ops::mutable_data_on<float>(device, grid.scale_OG, who),
                               spec.symmetric ? nullptr : ops::mutable_data_on<float>(device, grid.zero_point_OG, who),
                               ops::mutable_data_on<int32_t>(device, bad, who)},
      device);
  SWAGE_CHECK(bad.item<int32_t>() == 0, Numerical, "the weight holds a NaN or Inf");
  return grid;
}

GptqFactor DeviceSolver::gptq_factor(const at::Tensor& gram_II, const GptqOptions& options) const {
  const int64_t n = gram_II.size(0);
  GptqFactor factor;
  const at::Tensor diagonal_I = gram_II.diagonal().to(at::kDouble).contiguous();
  factor.dead_I = at::eq(diagonal_I, 0);
  const int64_t dead = factor.dead_I.sum().item<int64_t>();
  SWAGE_CHECK(std::isfinite(gram_II.sum().item<double>()), Numerical,
              "gptq_factor: the Gram matrix holds a NaN or Inf");
  SWAGE_CHECK(diagonal_I.min().item<double>() >= 0, Numerical,
              "gptq_factor: the Gram matrix is negative on its diagonal");
  const double mean = dead == n ? 1.0 : diagonal_I.sum().item<double>() / double(n - dead);
  at::Tensor order_I = at::arange(n, gram_II.options().dtype(at::kLong));
  if (options.act_order != ActOrder::None) {
    order_I = at::argsort(diagonal_I, /*stable=*/true, /*dim=*/0, /*descending=*/true).contiguous();
    factor.permutation_I = order_I;
  }
  const at::Tensor reversed_I = order_I.flip(0);
  const at::Tensor live_I = at::where(factor.dead_I, mean, diagonal_I).index_select(0, reversed_I);
  factor.dampening_used = options.dampening;
  for (;; ++factor.retries) {
    factor.dampening_added = factor.dampening_used * mean;
    at::Tensor h_II = gram_II.to(at::kDouble).index_select(0, reversed_I).index_select(1, reversed_I);
    const at::Tensor dampened_I = live_I + factor.dampening_added;
    h_II.diagonal().copy_(dampened_I);
    const auto [lower_II, info] =
        at::linalg_cholesky_ex(h_II);  // L L^T = J H J, so that R = J L J is upper triangular and H = R R^T
    h_II = at::Tensor();
    const at::Tensor pivot_I = lower_II.diagonal();
    const bool ok =
        info.item<int>() == 0 &&
        (pivot_I.mul(pivot_I) > dampened_I.mul(double(n) * 0x1p-52)).all().item<bool>();  // as UpperCholesky::factor()
    if (ok) {
      const at::Tensor last_to_first_I = pivot_I.flip(0);
      factor.m_II = lower_II.flip({0, 1}).div_(last_to_first_I.unsqueeze(0)).to(at::kFloat).contiguous();
      factor.d_I = last_to_first_I.mul(last_to_first_I).to(at::kFloat).contiguous();
      return factor;
    }
    SWAGE_CHECK(factor.retries < options.max_retries, Numerical, "gptq_factor: the Gram matrix of ", n,
                " columns is not positive definite, even with dampening ", factor.dampening_used);
    factor.dampening_used = std::max(factor.dampening_used * 10, kSmallestRetry);
  }
}

namespace {

// The weight and its grid as the kernels want them: columns in the visiting order, transposed.
struct Transposed {
  at::Tensor error_IO;  // f32, w on entry
  at::Tensor scale_GO, zero_GO;
  at::Tensor group_I;  // int32
};

Transposed transpose(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid) {
  const int64_t columns = w_OI.size(1), group = columns / grid.scale_OG.size(1);
  Transposed out;
  at::Tensor w_IO = w_OI.to(at::kFloat).t();
  at::Tensor group_I = at::arange(columns, w_OI.options().dtype(at::kLong)).floor_divide(group);
  at::Tensor dead_I = factor.dead_I;
  if (factor.permutation_I.defined()) {
    w_IO = w_IO.index_select(0, factor.permutation_I);
    group_I = group_I.index_select(0, factor.permutation_I);
    dead_I = dead_I.index_select(0, factor.permutation_I);
  }
  out.error_IO = w_IO.masked_fill(dead_I.unsqueeze(1), 0).contiguous();
  out.group_I = group_I.to(at::kInt).contiguous();
  out.scale_GO = grid.scale_OG.t().contiguous();
  if (!grid.spec.symmetric) out.zero_GO = grid.zero_point_OG.t().contiguous();
  return out;
}

at::Tensor inverse_of(const at::Tensor& permutation_I) {
  return at::empty_like(permutation_I)
      .index_copy_(0, permutation_I, at::arange(permutation_I.size(0), permutation_I.options()));
}

}  // namespace

GptqResult DeviceSolver::gptq_solve(const at::Tensor& w_OI, const GptqFactor& factor, const Grid& grid,
                                    bool keep_zeros) const {
  const at::Device device = w_OI.device();
  const int64_t rows = w_OI.size(0), columns = w_OI.size(1), block = kernels::kGptqBlock;
  const char* who = "gptq_solve";
  const Transposed t = transpose(w_OI, factor, grid);
  at::Tensor value_IO = t.error_IO.clone();
  const at::Tensor codes_IO = at::empty({columns, rows}, w_OI.options().dtype(at::kByte)),
                   loss_O = at::zeros({rows}, w_OI.options().dtype(at::kDouble));
  kernels::GptqBlock p{rows,
                       columns,
                       0,
                       0,
                       nullptr,
                       ops::mutable_data_on<float>(device, t.error_IO, who),
                       floats(factor.m_II, device, who),
                       floats(factor.d_I, device, who),
                       ops::data_on<int32_t>(device, t.group_I, who),
                       floats(t.scale_GO, device, who),
                       t.zero_GO.defined() ? floats(t.zero_GO, device, who) : nullptr,
                       code_range_of(grid.spec),
                       keep_zeros,
                       ops::mutable_data_on<uint8_t>(device, codes_IO, who),
                       ops::mutable_data_on<double>(device, loss_O, who)};
  for (int64_t first = 0; first < columns; first += kSuperblock) {
    const int64_t end = std::min(columns, first + kSuperblock);
    for (p.begin = first; p.begin < end; p.begin += block) {
      p.count = std::min(block, end - p.begin);
      at::Tensor value_BO = value_IO.narrow(0, p.begin, p.count);
      if (p.begin > first) {
        const at::Tensor m_KB = factor.m_II.narrow(0, first, p.begin - first).narrow(1, p.begin, p.count);
        value_BO.addmm_(m_KB.t(), t.error_IO.narrow(0, first, p.begin - first));
      }
      p.value = floats(value_BO, device, who);
      ops::run("gptq_block", kernels_.gptq_block, p, device);
    }
    if (end == columns) break;
    const at::Tensor m_KL = factor.m_II.narrow(0, first, end - first).narrow(1, end, columns - end);
    value_IO.narrow(0, end, columns - end).addmm_(m_KL.t(), t.error_IO.narrow(0, first, end - first));
  }
  const at::Tensor in_order_IO =
      factor.permutation_I.defined() ? codes_IO.index_select(0, inverse_of(factor.permutation_I)) : codes_IO;
  return {in_order_IO.t().contiguous().view(code_dtype_of(grid.spec)), loss_O.sum().item<double>()};
}

at::Tensor DeviceSolver::dequantize(const at::Tensor& codes_OI, const Grid& grid) const {
  const at::Device device = codes_OI.device();
  const char* who = "dequantize";
  at::Tensor out_OI = at::empty(codes_OI.sizes(), codes_OI.options().dtype(at::kFloat));
  const at::Tensor scale_OG = grid.scale_OG.contiguous(),
                   zero_OG = grid.spec.symmetric ? at::Tensor() : grid.zero_point_OG.contiguous();
  ops::run("dequantize", kernels_.dequantize,
           kernels::DequantizeRows{ops::data_on<uint8_t>(device, as_bytes(codes_OI), who), codes_OI.size(0),
                                   codes_OI.size(1), codes_OI.size(1) / scale_OG.size(1), floats(scale_OG, device, who),
                                   zero_OG.defined() ? floats(zero_OG, device, who) : nullptr,
                                   code_kind_of(grid.spec.type), ops::mutable_data_on<float>(device, out_OI, who)},
           device);
  return out_OI;
}

double DeviceSolver::squared_difference(const at::Tensor& w_OI, const at::Tensor& codes_OI, const Grid& grid) const {
  return w_OI.sub(dequantize(codes_OI, grid)).square_().sum(at::kDouble).item<double>();
}

double DeviceSolver::refine(const at::Tensor& w_OI, const at::Tensor& gram_II, const RefineOptions& options,
                            at::Tensor& codes_OI, Grid& grid) const {
  const at::Device device = w_OI.device();
  const int64_t rows = w_OI.size(0), columns = w_OI.size(1), groups = grid.scale_OG.size(1), group = columns / groups;
  const char* who = "refine";
  at::Tensor error_IO = w_OI.to(at::kFloat).sub(dequantize(codes_OI, grid)).t().contiguous();
  at::Tensor gradient_IO = at::mm(gram_II, error_IO);
  if (options.sweeps == 0) return gradient_IO.mul_(error_IO).sum(at::kDouble).item<double>();
  const at::Tensor codes_IO = as_bytes(codes_OI).t().contiguous(), scale_GO = grid.scale_OG.t().contiguous();
  const at::Tensor zero_GO = grid.spec.symmetric ? at::Tensor() : grid.zero_point_OG.t().contiguous();
  const at::Tensor keep_IO = options.keep_zeros ? w_OI.to(at::kFloat).t().contiguous() : at::Tensor();
  const at::Tensor diagonal_I = gram_II.diagonal();
  const double least = diagonal_I.to(at::kDouble).mean().item<double>() * kLeastDiagonal;
  const at::Tensor inverse_I = diagonal_I.clamp_min(least).reciprocal().contiguous();
  const at::Tensor change_KO = at::empty({kernels::kLongestRefit, rows}, error_IO.options());
  const Formula formula = formula_of(grid.spec, grid.global_scale);
  kernels::RefineBlock p{rows,
                         columns,
                         0,
                         0,
                         floats(gram_II, device, who),
                         floats(inverse_I, device, who),
                         floats(gradient_IO, device, who),
                         ops::mutable_data_on<uint8_t>(device, codes_IO, who),
                         nullptr,
                         nullptr,
                         options.refit_scales && group <= kernels::kLongestRefit,
                         formula.rule,
                         formula.codes,
                         keep_IO.defined() ? floats(keep_IO, device, who) : nullptr,
                         ops::mutable_data_on<float>(device, change_KO, who)};
  for (int sweep = 0; sweep < options.sweeps; ++sweep) {
    for (p.first = 0; p.first < columns; p.first += p.count) {
      const int64_t g = p.first / group;
      p.count = std::min(kernels::kLongestRefit, (g + 1) * group - p.first);
      p.scale = ops::mutable_data_on<float>(device, scale_GO[g], who);
      p.zero = zero_GO.defined() ? floats(zero_GO[g], device, who) : nullptr;
      ops::run("refine_block", kernels_.refine_block, p, device);
      const at::Tensor change_CO = change_KO.narrow(0, 0, p.count);
      gradient_IO.addmm_(gram_II.narrow(1, p.first, p.count), change_CO, 1, -1);
      error_IO.narrow(0, p.first, p.count).sub_(change_CO);
    }
  }
  codes_OI = codes_IO.t().contiguous().view(codes_OI.scalar_type());
  grid.scale_OG = scale_GO.t().contiguous();
  return error_IO.mul_(gradient_IO).sum(at::kDouble).item<double>();
}

}  // namespace swage::solvers
