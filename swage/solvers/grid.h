// The values a weight may take: what a solver must know of a scheme, and nothing of how it is stored.
#pragma once
#include <ATen/core/Tensor.h>

namespace swage::solvers {

enum class CodeType { Int, Fp8E4M3 };

// O output rows, I input columns, G groups of columns.
struct GridSpec {
  CodeType type = CodeType::Int;
  double code_min = -8, code_max = 7;  // -8..7 for int4, +-448 for FP8
  bool symmetric = true;
  int64_t group_size = 0;              // columns per scale; 0: all columns of a row
  at::ScalarType scale_dtype = at::kFloat;  // scales are rounded to this type before any code is made with them
};

struct Grid {
  GridSpec spec;
  at::Tensor scale_OG;       // f32 values, each representable in spec.scale_dtype, positive
  at::Tensor zero_point_OG;  // f32 integers, undefined when symmetric
  at::Tensor g_idx_I;        // int32 group of each original column; undefined: column / group_size
};

// How scales are chosen.
struct ScaleSearch {
  enum class Kind { Absmax, PNorm } kind = Kind::PNorm;
  double norm = 2.4;      // minimizes sum |w - q|^norm over the range shrunk or widened by a factor
  double largest = 1.15;  // first factor tried
  double step = 0.015;    // between factors
  int steps = 46;         // factors tried
};

// Scales (and zero points) for w_OI, f32 [O, I] on the CPU; `weight_dtype` arithmetic follows compressed-tensors'
// formulas: symmetric absmax / ((max-min)/2), asymmetric (max-min)/(2^b-1) with 0 inside the range.
// Error(InvalidArgument) if group_size does not divide I.
Grid find_grid(const at::Tensor& w_OI, const GridSpec& spec, const ScaleSearch& search, const at::Tensor& g_idx_I = {});

// Round-to-nearest codes of w_OI on the grid, f32 division: int8 or float8_e4m3fn [O, I].
at::Tensor quantize_to_grid(const at::Tensor& w_OI, const Grid& grid);
// Values of the codes, f32 [O, I].
at::Tensor dequantize_from_grid(const at::Tensor& codes_OI, const Grid& grid);

}  // namespace swage::solvers
