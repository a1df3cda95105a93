#include "swage/modifiers/solver_glue.h"

#include <ATen/Parallel.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include <cmath>

#include "swage/base/error.h"

namespace swage::modifiers {
namespace {

constexpr int64_t kRowsAtOnce = 32;  // their values stay in the cache from one operation to the next

double squared_norm(const at::Tensor& a) { return a.mul(a).sum(at::kDouble).item<double>(); }

// Rows first .. first + rows of a grid.
solvers::Grid rows_of(const solvers::Grid& grid, int64_t first, int64_t rows) {
  solvers::Grid out = grid;
  out.scale_OG = grid.scale_OG.narrow(0, first, rows);
  if (grid.zero_point_OG.defined()) out.zero_point_OG = grid.zero_point_OG.narrow(0, first, rows);
  return out;
}

}  // namespace

solvers::GridSpec grid_spec(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype) {
  using scheme::NumberType, scheme::Strategy;
  const bool fp8 = args.type == NumberType::Float && args.num_bits == 8;
  SWAGE_CHECK(fp8 || args.type == NumberType::Int, Unsupported, "weights of ", args.num_bits, " bits, type float: only 8-bit floats are supported");
  SWAGE_CHECK(args.strategy == Strategy::Channel || args.strategy == Strategy::Group, Unsupported,
              "weight strategy: only channel and group are supported");
  SWAGE_CHECK(args.type == NumberType::Float || (args.num_bits >= 2 && args.num_bits <= 8), Unsupported,
              "integer weights of ", args.num_bits, " bits: 2 to 8 are supported");
  solvers::GridSpec spec;
  spec.type = fp8 ? solvers::CodeType::Fp8E4M3 : solvers::CodeType::Int;
  spec.code_min = scheme::code_min(args);
  spec.code_max = scheme::code_max(args);
  spec.symmetric = args.symmetric;
  spec.group_size = args.strategy == Strategy::Group ? args.group_size.value_or(0) : 0;
  spec.scale_dtype = stored_dtype;
  return spec;
}

solvers::ScaleSearch scale_search(const std::string& name, double norm, const std::string& source) {
  solvers::ScaleSearch search;
  SWAGE_CHECK(name == "absmax" || name == "pnorm", InvalidArgument, source, ": scale_search \"", name, "\": expected absmax or pnorm");
  SWAGE_CHECK(norm >= 1 && norm <= 8, InvalidArgument, source, ": norm ", norm, ": expected a number from 1 to 8");
  search.kind = name == "absmax" ? solvers::ScaleSearch::Kind::Absmax : solvers::ScaleSearch::Kind::PNorm;
  search.norm = norm;
  return search;
}

format::QuantizedWeight to_stored(const at::Tensor& codes_OI, const solvers::Grid& grid) {
  format::QuantizedWeight out;
  out.codes_OI = codes_OI;
  out.scale_OG = grid.scale_OG.to(grid.spec.scale_dtype);
  if (!grid.spec.symmetric) out.zero_point_OG = grid.zero_point_OG.to(at::kChar);
  if (grid.g_idx_I.defined()) out.g_idx_I = grid.g_idx_I.to(at::kInt);
  return out;
}

WeightError weight_error(const at::Tensor& w_OI, const at::Tensor& codes_OI, const solvers::Grid& grid) {
  const int64_t rows = w_OI.size(0), pieces = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  std::vector<WeightError> of_piece(static_cast<size_t>(pieces));  // added up in order, whoever computed them
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece * kRowsAtOnce, count = std::min(kRowsAtOnce, rows - first);
      const at::Tensor w = w_OI.narrow(0, first, count).to(at::kFloat);
      const at::Tensor q = solvers::dequantize_from_grid(codes_OI.narrow(0, first, count), rows_of(grid, first, count));
      of_piece[static_cast<size_t>(piece)] = {squared_norm(at::sub(w, q)), squared_norm(w)};
    }
  });
  WeightError out;
  for (const WeightError& piece : of_piece) {
    out.difference += piece.difference;
    out.whole += piece.whole;
  }
  return out;
}

double quadratic_form(const at::Tensor& a_OI, const at::Tensor& gram_II) {
  return at::mm(a_OI, gram_II).mul_(a_OI).sum(at::kDouble).item<double>();
}

void report_error(double error, double whole, int64_t tokens, SolvedLinear& out) {
  out.loss = std::max(error, 0.0) / double(std::max<int64_t>(tokens, 1));
  out.relative_error = whole > 0 ? std::sqrt(std::max(error, 0.0) / whole) : 0;
}

}  // namespace swage::modifiers
