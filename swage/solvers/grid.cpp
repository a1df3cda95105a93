#include "swage/solvers/grid.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <cmath>

#include "swage/base/error.h"
#include "swage/solvers/grid_internal.h"

namespace swage::solvers {
namespace {

// Rows that one step of a parallel loop takes together: about 64 K weights.
int64_t rows_per_step(int64_t columns) { return std::max<int64_t>(1, (1 << 16) / std::max<int64_t>(1, columns)); }

void spread_over_columns(const float* per_group, const std::vector<int32_t>& group, std::vector<float>& per_column) {
  for (size_t i = 0; i < group.size(); ++i) per_column[i] = per_group[group[i]];
}

float decode(const void* codes, CodeType type, int64_t i) {
  if (type == CodeType::Int) return static_cast<float>(static_cast<const int8_t*>(codes)[i]);
  const uint8_t byte = static_cast<const uint8_t*>(codes)[i];
  const float sign = (byte & 0x80u) ? -1.0f : 1.0f;
  const int exponent = (byte >> 3) & 15, mantissa = byte & 7;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9) : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10));
}

// All 256 values of a code byte.
std::vector<float> decode_table(CodeType type) {
  std::vector<float> table(256);
  for (int i = 0; i < 256; ++i) {
    const auto byte = static_cast<uint8_t>(i);
    table[static_cast<size_t>(i)] = decode(&byte, type, 0);
  }
  return table;
}

}  // namespace

kernels::NumberFormat number_format_of(at::ScalarType dtype, const char* who) {
  if (dtype == at::kFloat) return kernels::NumberFormat::F32;
  if (dtype == at::kBFloat16) return kernels::NumberFormat::BF16;
  SWAGE_CHECK(dtype == at::kHalf, InvalidArgument, who, ": expected f32, bf16 or f16, got ", dtype);
  return kernels::NumberFormat::F16;
}

kernels::CodeRange code_range_of(const GridSpec& spec) {
  const bool fp8 = spec.type == CodeType::Fp8E4M3;
  SWAGE_CHECK(spec.code_min < spec.code_max, InvalidArgument, "grid: codes from ", spec.code_min, " to ", spec.code_max);
  const double limit = fp8 ? 448 : 127;
  SWAGE_CHECK(spec.code_min >= (fp8 ? -448 : -128) && spec.code_max <= limit, InvalidArgument, "grid: codes from ", spec.code_min,
              " to ", spec.code_max, " do not fit ", fp8 ? "FP8 E4M3" : "8 bits");
  SWAGE_CHECK(!fp8 || spec.symmetric, InvalidArgument, "grid: FP8 codes have no zero point; use a symmetric grid");
  return {fp8, static_cast<float>(spec.code_min), static_cast<float>(spec.code_max)};
}

at::ScalarType code_dtype_of(const GridSpec& spec) { return spec.type == CodeType::Int ? at::kChar : at::kFloat8_e4m3fn; }

int64_t groups_of(const GridSpec& spec, int64_t columns) {
  const int64_t size = spec.group_size == 0 ? columns : spec.group_size;
  SWAGE_CHECK(size > 0 && columns % size == 0, InvalidArgument, "grid: ", columns, " columns do not split into groups of ", size);
  return columns / size;
}

std::vector<int32_t> group_of_columns(const Grid& grid, int64_t rows, int64_t columns) {
  const int64_t groups = groups_of(grid.spec, columns);
  SWAGE_CHECK(grid.scale_OG.dim() == 2 && grid.scale_OG.size(0) == rows && grid.scale_OG.size(1) == groups &&
                  grid.scale_OG.scalar_type() == at::kFloat && grid.scale_OG.is_contiguous(),
              InvalidArgument, "grid: a ", rows, "x", columns, " weight needs contiguous f32 scales [", rows, ", ", groups, "], got ",
              grid.scale_OG.scalar_type(), " ", grid.scale_OG.sizes());
  const at::Tensor& zero_OG = grid.zero_point_OG;
  SWAGE_CHECK(grid.spec.symmetric || (zero_OG.defined() && zero_OG.sizes() == grid.scale_OG.sizes() &&
                                      zero_OG.scalar_type() == at::kFloat && zero_OG.is_contiguous()),
              InvalidArgument, "grid: an asymmetric grid needs contiguous f32 zero points of the scales' shape ", grid.scale_OG.sizes());
  std::vector<int32_t> group(static_cast<size_t>(columns));
  if (!grid.g_idx_I.defined()) {
    for (int64_t i = 0; i < columns; ++i) group[static_cast<size_t>(i)] = static_cast<int32_t>(i / (columns / groups));
    return group;
  }
  SWAGE_CHECK(grid.g_idx_I.dim() == 1 && grid.g_idx_I.size(0) == columns && grid.g_idx_I.scalar_type() == at::kInt && grid.g_idx_I.is_contiguous(),
              InvalidArgument, "grid: g_idx must be int32 [", columns, "], got ", grid.g_idx_I.scalar_type(), " ", grid.g_idx_I.sizes());
  const int32_t* g_idx = grid.g_idx_I.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < columns; ++i) {
    SWAGE_CHECK(g_idx[i] >= 0 && g_idx[i] < groups, InvalidArgument, "grid: g_idx of column ", i, " is ", g_idx[i], ", there are ", groups, " groups");
    group[static_cast<size_t>(i)] = g_idx[i];
  }
  return group;
}

at::Tensor quantize_to_grid(const at::Tensor& w_OI, const Grid& grid) {
  SWAGE_CHECK(w_OI.dim() == 2 && w_OI.is_cpu(), InvalidArgument, "quantize_to_grid: expected a matrix on the CPU, got ", w_OI.sizes());
  const at::Tensor weight_OI = w_OI.contiguous();
  const int64_t rows = weight_OI.size(0), columns = weight_OI.size(1);
  const kernels::NumberFormat format = number_format_of(weight_OI.scalar_type(), "quantize_to_grid");
  const kernels::CodeRange range = code_range_of(grid.spec);
  const std::vector<int32_t> group = group_of_columns(grid, rows, columns);
  const int64_t groups = grid.scale_OG.size(1);
  at::Tensor codes_OI = at::empty({rows, columns}, code_dtype_of(grid.spec));
  const float* scale = grid.scale_OG.const_data_ptr<float>();
  const float* zero = grid.spec.symmetric ? nullptr : grid.zero_point_OG.const_data_ptr<float>();
  const char* weight = static_cast<const char*>(weight_OI.const_data_ptr());
  uint8_t* codes = static_cast<uint8_t*>(codes_OI.mutable_data_ptr());
  at::parallel_for(0, rows, rows_per_step(columns), [&](int64_t begin, int64_t end) {
    std::vector<float> scale_I(group.size()), zero_I(group.size(), 0.0f);
    for (int64_t r = begin; r < end; ++r) {
      spread_over_columns(scale + r * groups, group, scale_I);
      if (zero != nullptr) spread_over_columns(zero + r * groups, group, zero_I);
      kernels::fast_kernels().quantize_row({weight + r * columns * kernels::bytes_of(format), format, columns, scale_I.data(),
                                            zero_I.data(), range, codes + r * columns});
    }
  });
  return codes_OI;
}

at::Tensor dequantize_from_grid(const at::Tensor& codes_OI, const Grid& grid) {
  SWAGE_CHECK(codes_OI.dim() == 2 && codes_OI.scalar_type() == code_dtype_of(grid.spec) && codes_OI.is_contiguous(), InvalidArgument,
              "dequantize_from_grid: expected a contiguous matrix of ", code_dtype_of(grid.spec), ", got ", codes_OI.scalar_type(), " ", codes_OI.sizes());
  const int64_t rows = codes_OI.size(0), columns = codes_OI.size(1);
  const std::vector<int32_t> group = group_of_columns(grid, rows, columns);
  const int64_t groups = grid.scale_OG.size(1);
  const std::vector<float> value = decode_table(grid.spec.type);
  at::Tensor w_OI = at::empty({rows, columns}, at::kFloat);
  const uint8_t* codes = static_cast<const uint8_t*>(codes_OI.const_data_ptr());
  const float* scale = grid.scale_OG.const_data_ptr<float>();
  const float* zero = grid.spec.symmetric ? nullptr : grid.zero_point_OG.const_data_ptr<float>();
  float* w = w_OI.mutable_data_ptr<float>();
  at::parallel_for(0, rows, rows_per_step(columns), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * columns; i < end * columns; ++i) {
      const int64_t g = i / columns * groups + group[static_cast<size_t>(i % columns)];
      w[i] = (value[codes[i]] - (zero == nullptr ? 0.0f : zero[g])) * scale[g];
    }
  });
  return w_OI;
}

}  // namespace swage::solvers
