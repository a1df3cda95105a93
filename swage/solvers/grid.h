// The values a weight may take: what a solver must know of a scheme, and nothing of how it is stored.
// O output rows, I input columns, G groups of columns.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace swage::solvers {

enum class CodeType { Int, Fp8E4M3, Fp4E2M1, Fp6E2M3 };

struct GridSpec {
  CodeType type = CodeType::Int;
  double code_min = -8, code_max = 7;  // -8..7 for int4, +-448 for FP8, +-7.5 for FP6, +-6 for FP4
  bool symmetric = true;
  int64_t group_size = 0;  // columns per scale; 0: all columns of a row
  int64_t group_rows = 1;  // rows per scale: 1; more for blocks; 0: all rows (strategy tensor)
  // Scales are rounded to this type before any code is made with them: f32, bf16, f16; float8_e4m3fn under a global
  // scale (NVFP4); uint8: powers of two (MX).
  at::ScalarType scale_dtype = at::kFloat;
};

struct Grid {
  GridSpec spec;
  // f32, positive: what a code is multiplied by. Each is representable in spec.scale_dtype (times global_scale for
  // NVFP4). [O, G]; [1] for strategy tensor; [ceil(O / rows), ceil(I / columns)] for blocks.
  at::Tensor scale_OG;
  at::Tensor zero_point_OG;  // f32 integers, undefined when symmetric
  at::Tensor g_idx_I;        // int32 group of each original column; undefined: column / group_size
  at::Tensor
      global_scale;  // f32 [1] for float8_e4m3fn scales: scale_OG = stored local scale / global_scale. Else undefined
};

// How scales are chosen.
struct ScaleSearch {
  enum class Kind { Absmax, PNorm } kind = Kind::PNorm;
  double norm = 2.4;             // minimizes sum |w - q|^norm over the range shrunk or widened by a factor
  double largest = 1.15;         // first factor tried
  double step = 0.015;           // between factors
  int steps = 46;                // factors tried; of equally good ones the first wins
  at::Tensor importance_I = {};  // f32 [I]: factors of the columns' errors in PNorm's sum; undefined: 1
};

// Scales (and zero points) for w_OI: f32, bf16 or f16 [O, I] on the CPU. Formulas of compressed-tensors: symmetric
// absmax / ((code_max - code_min) / 2), asymmetric (max - min) / (code_max - code_min) with 0 inside the range. Absmax
// rounds to w_OI's dtype after every operation, as compressed-tensors does: give the weight as the checkpoint holds it
// for equal scales. A scale of 0 becomes the epsilon of scale_dtype (2^-7, 2^-10, 2^-23 for bf16, f16, f32; 0.125 for
// e4m3). NVFP4: the local scale of a group is e4m3(absmax / 6 * global_scale); `global_scale` (f32 [1]) is that of w_OI
// unless given, as it must be for linears that share one. MX: 2^e with e from the group's absmax by
// kernels::mx_exponent(). PNorm tries factors of the range, for powers of two the neighbours of absmax's exponent; a
// block or a whole tensor is searched by the sum over all of its rows. `g_idx_I` (int32, each group equally often, one
// row to a scale) makes groups of scattered columns. Error(InvalidArgument) if group_size does not divide I (blocks may
// be cut at the edges); Error(Numerical) if w_OI holds a NaN or Inf.
Grid find_grid(const at::Tensor& w_OI, const GridSpec& spec, const ScaleSearch& search, const at::Tensor& g_idx_I = {},
               const at::Tensor& global_scale = {});

// NVFP4's global scale, f32 [1]: 448 * 6 times the reciprocal of the absmax of all `weights` (f32, bf16 or f16, one
// dtype, any shape, CPU), both steps rounded to their dtype as compressed-tensors does; 1 for weights of zeros. Linears
// that an engine fuses (q/k/v, gate/up) must share one. Where f16 cannot hold it (absmax below 0.041)
// compressed-tensors falls back to 1, which leaves the local scales no bits: here it stays f32. Error(Numerical) for a
// NaN or Inf.
at::Tensor shared_global_scale(const std::vector<at::Tensor>& weights);
// The same from the largest magnitude of values of `dtype`, as for activations.
at::Tensor global_scale_of(double absmax, at::ScalarType dtype);

// Absmax scales of groups whose values of `dtype` lie in [low, high] (f32 tensors of one shape; 0 is put inside), by
// the rules of find_grid(). scale: f32, effective. zero_point: f32, undefined when symmetric.
struct RangeScales {
  at::Tensor scale, zero_point;
};
RangeScales scales_of_ranges(const at::Tensor& low, const at::Tensor& high, const GridSpec& spec, at::ScalarType dtype,
                             const at::Tensor& global_scale = {});

// Round-to-nearest codes of w_OI (f32, bf16 or f16) on the grid, f32 division [O, I]: int8, float8_e4m3fn, or for FP4
// and FP6 uint8 with one code to a byte.
at::Tensor quantize_to_grid(const at::Tensor& w_OI, const Grid& grid);
// Values of the codes, f32 [O, I].
at::Tensor dequantize_from_grid(const at::Tensor& codes_OI, const Grid& grid);
// Sums over all weights, in double, short runs in f32 (kernels::RowError): of (w - q)^2 and of w^2, q the values of
// `codes_OI`. w_OI in f32, bf16 or f16.
struct SquaredError {
  double difference = 0, whole = 0;
};
SquaredError squared_error(const at::Tensor& w_OI, const at::Tensor& codes_OI, const Grid& grid);

// Number of scales of a row of `columns` columns; Error(InvalidArgument) if they do not split evenly (blocks: rounded
// up).
int64_t groups_of(const GridSpec& spec, int64_t columns);
// The grid of rows first .. first + rows. `first` must begin a block where scales are of blocks.
Grid rows_of_grid(const Grid& grid, int64_t first, int64_t rows);

}  // namespace swage::solvers
