#include "swage/solvers/grid.h"
#include "swage/ops/device.h"

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

// All 256 values of a code byte.
std::vector<float> decode_table(CodeType type) {
  std::vector<float> table(256);
  for (size_t i = 0; i < 256; ++i) table[i] = kernels::decode_code(code_kind_of(type), static_cast<uint8_t>(i));
  return table;
}

// Calls work(row, its scales and its zero points at each column) for all rows of a weight. Without zero points:
// `no_zero`.
template <class Work>
void for_each_row(const Grid& grid, int64_t rows, int64_t columns, float no_zero, const Work& work) {
  const Tiling tiles = tiling_of(grid.spec, rows, columns);
  const std::vector<int32_t> group = group_of_columns(grid, tiles);
  const float* scale = grid.scale_OG.const_data_ptr<float>();
  const float* zero = grid.spec.symmetric ? nullptr : grid.zero_point_OG.const_data_ptr<float>();
  at::parallel_for(0, rows, rows_per_step(columns), [&](int64_t begin, int64_t end) {
    std::vector<float> scale_I(group.size()), zero_I(group.size(), no_zero);
    for (int64_t r = begin; r < end; ++r) {
      if (r == begin || r % tiles.tile_rows == 0) {
        spread_over_columns(scale + r / tiles.tile_rows * tiles.across, group, scale_I);
        if (zero != nullptr) spread_over_columns(zero + r / tiles.tile_rows * tiles.across, group, zero_I);
      }
      work(r, scale_I.data(), zero_I.data());
    }
  });
}

// Codes of one row as values: `table` has those of float codes.
void decode_row(const uint8_t* __restrict codes, CodeType type, const std::vector<float>& table,
                const float* __restrict scale_I, const float* __restrict zero_I, int64_t columns,
                float* __restrict to) {
  if (type == CodeType::Int) {
    for (int64_t i = 0; i < columns; ++i)
      to[i] = (static_cast<float>(static_cast<int8_t>(codes[i])) - zero_I[i]) * scale_I[i];
    return;
  }
  for (int64_t i = 0; i < columns; ++i) to[i] = table[codes[i]] * scale_I[i];
}

void check_codes(const at::Tensor& codes_OI, const Grid& grid, const char* who) {
  SWAGE_CHECK(codes_OI.dim() == 2 && codes_OI.scalar_type() == code_dtype_of(grid.spec) && codes_OI.is_contiguous(),
              InvalidArgument, who, ": expected a contiguous matrix of ", code_dtype_of(grid.spec), ", got ",
              codes_OI.scalar_type(), " ", codes_OI.sizes());
}

}  // namespace

kernels::NumberFormat number_format_of(at::ScalarType dtype, const char* who) {
  if (dtype == at::kFloat) return kernels::NumberFormat::F32;
  if (dtype == at::kBFloat16) return kernels::NumberFormat::BF16;
  SWAGE_CHECK(dtype == at::kHalf, InvalidArgument, who, ": expected f32, bf16 or f16, got ", dtype);
  return kernels::NumberFormat::F16;
}

kernels::CodeKind code_kind_of(CodeType type) {
  switch (type) {
    case CodeType::Fp8E4M3:
      return kernels::CodeKind::E4M3;
    case CodeType::Fp6E2M3:
      return kernels::CodeKind::E2M3;
    case CodeType::Fp4E2M1:
      return kernels::CodeKind::E2M1;
    case CodeType::Int:
      break;
  }
  return kernels::CodeKind::Int;
}

kernels::CodeRange code_range_of(const GridSpec& spec) {
  const kernels::CodeKind kind = code_kind_of(spec.type);
  const bool integer = kind == kernels::CodeKind::Int;
  const double limit = double{kernels::largest_of(kind)};
  SWAGE_CHECK(spec.code_min < spec.code_max, InvalidArgument, "grid: codes from ", spec.code_min, " to ",
              spec.code_max);
  SWAGE_CHECK(spec.code_min >= (integer ? -128 : -limit) && spec.code_max <= limit, InvalidArgument,
              "grid: codes from ", spec.code_min, " to ", spec.code_max, " do not fit ",
              integer ? "8 bits" : "their float type", ", which ends at ", limit);
  SWAGE_CHECK(integer || spec.symmetric, InvalidArgument, "grid: float codes have no zero point; use a symmetric grid");
  return {kind, static_cast<float>(spec.code_min), static_cast<float>(spec.code_max)};
}

at::ScalarType code_dtype_of(const GridSpec& spec) {
  if (spec.type == CodeType::Int) return at::kChar;
  return spec.type == CodeType::Fp8E4M3 ? at::kFloat8_e4m3fn : at::kByte;
}

int64_t groups_of(const GridSpec& spec, int64_t columns) {
  const int64_t size = spec.group_size == 0 ? columns : spec.group_size;
  SWAGE_CHECK(size > 0 && (columns % size == 0 || spec.group_rows != 1), InvalidArgument, "grid: ", columns,
              " columns do not split into groups of ", size);
  return (columns + size - 1) / size;
}

Tiling tiling_of(const GridSpec& spec, int64_t rows, int64_t columns) {
  SWAGE_CHECK(spec.group_rows >= 0 && rows > 0 && columns > 0, InvalidArgument, "grid: blocks of ", spec.group_rows,
              " rows in a ", rows, "x", columns, " weight");
  const int64_t tile_rows = spec.group_rows == 0 ? rows : spec.group_rows;
  Tiling tiles{rows,
               columns,
               tile_rows,
               spec.group_size == 0 ? columns : spec.group_size,
               (rows + tile_rows - 1) / tile_rows,
               groups_of(spec, columns),
               {}};
  tiles.scale_shape = {tiles.down, tiles.across};
  if (spec.group_rows == 0 && spec.group_size == 0) tiles.scale_shape = {1};
  return tiles;
}

std::vector<int32_t> group_of_columns(const Grid& grid, const Tiling& tiles) {
  SWAGE_CHECK(grid.scale_OG.defined() && grid.scale_OG.sizes() == at::IntArrayRef(tiles.scale_shape) &&
                  grid.scale_OG.scalar_type() == at::kFloat && grid.scale_OG.is_contiguous(),
              InvalidArgument, "grid: a ", tiles.rows, "x", tiles.columns, " weight needs contiguous f32 scales ",
              at::IntArrayRef(tiles.scale_shape), ", got ", grid.scale_OG.scalar_type(), " ", grid.scale_OG.sizes());
  const at::Tensor& zero_OG = grid.zero_point_OG;
  SWAGE_CHECK(grid.spec.symmetric || (zero_OG.defined() && zero_OG.sizes() == grid.scale_OG.sizes() &&
                                      zero_OG.scalar_type() == at::kFloat && zero_OG.is_contiguous()),
              InvalidArgument, "grid: an asymmetric grid needs contiguous f32 zero points of the scales' shape ",
              grid.scale_OG.sizes());
  std::vector<int32_t> group(static_cast<size_t>(tiles.columns));
  if (!grid.g_idx_I.defined()) {
    for (int64_t i = 0; i < tiles.columns; ++i)
      group[static_cast<size_t>(i)] = static_cast<int32_t>(i / tiles.tile_columns);
    return group;
  }
  SWAGE_CHECK(grid.g_idx_I.dim() == 1 && grid.g_idx_I.size(0) == tiles.columns &&
                  grid.g_idx_I.scalar_type() == at::kInt && grid.g_idx_I.is_contiguous(),
              InvalidArgument, "grid: g_idx must be int32 [", tiles.columns, "], got ", grid.g_idx_I.scalar_type(), " ",
              grid.g_idx_I.sizes());
  const int32_t* g_idx = grid.g_idx_I.const_data_ptr<int32_t>();
  for (int64_t i = 0; i < tiles.columns; ++i) {
    SWAGE_CHECK(g_idx[i] >= 0 && g_idx[i] < tiles.across, InvalidArgument, "grid: g_idx of column ", i, " is ",
                g_idx[i], ", there are ", tiles.across, " groups");
    group[static_cast<size_t>(i)] = g_idx[i];
  }
  return group;
}

Grid rows_of_grid(const Grid& grid, int64_t first, int64_t rows) {
  if (grid.spec.group_rows == 0) return grid;
  const int64_t height = grid.spec.group_rows;
  SWAGE_CHECK(first % height == 0, InvalidArgument, "grid: row ", first, " is inside a block of ", height, " rows");
  Grid out = grid;
  out.scale_OG = grid.scale_OG.narrow(0, first / height, (rows + height - 1) / height);
  if (grid.zero_point_OG.defined())
    out.zero_point_OG = grid.zero_point_OG.narrow(0, first / height, (rows + height - 1) / height);
  return out;
}

at::Tensor quantize_to_grid(const at::Tensor& w_OI, const Grid& grid) {
  SWAGE_CHECK(w_OI.dim() == 2 && ops::on_host(w_OI), InvalidArgument,
              "quantize_to_grid: expected a matrix on the CPU, got ", w_OI.sizes());
  const at::Tensor weight_OI = w_OI.contiguous();
  const int64_t rows = weight_OI.size(0), columns = weight_OI.size(1);
  const kernels::NumberFormat format = number_format_of(weight_OI.scalar_type(), "quantize_to_grid");
  const kernels::CodeRange range = code_range_of(grid.spec);
  at::Tensor codes_OI = at::empty({rows, columns}, code_dtype_of(grid.spec));
  const char* weight = static_cast<const char*>(weight_OI.const_data_ptr());
  uint8_t* codes = static_cast<uint8_t*>(codes_OI.mutable_data_ptr());
  // Adding -0 leaves all values as they are; adding 0, as compressed-tensors does but for FP6, makes -0 a plain 0.
  const float no_zero = grid.spec.type == CodeType::Fp6E2M3 ? -0.0f : 0.0f;
  for_each_row(grid, rows, columns, no_zero, [&](int64_t r, const float* scale_I, const float* zero_I) {
    kernels::fast_kernels().quantize_row({weight + r * columns * kernels::bytes_of(format), format, columns, scale_I,
                                          zero_I, range, codes + r * columns});
  });
  return codes_OI;
}

at::Tensor dequantize_from_grid(const at::Tensor& codes_OI, const Grid& grid) {
  check_codes(codes_OI, grid, "dequantize_from_grid");
  const int64_t rows = codes_OI.size(0), columns = codes_OI.size(1);
  const std::vector<float> table = decode_table(grid.spec.type);
  at::Tensor w_OI = at::empty({rows, columns}, at::kFloat);
  const uint8_t* codes = static_cast<const uint8_t*>(codes_OI.const_data_ptr());
  float* w = w_OI.mutable_data_ptr<float>();
  for_each_row(grid, rows, columns, 0.0f, [&](int64_t r, const float* scale_I, const float* zero_I) {
    decode_row(codes + r * columns, grid.spec.type, table, scale_I, zero_I, columns, w + r * columns);
  });
  return w_OI;
}

SquaredError squared_error(const at::Tensor& w_OI, const at::Tensor& codes_OI, const Grid& grid) {
  check_codes(codes_OI, grid, "squared_error");
  const at::Tensor weight_OI = w_OI.contiguous();
  SWAGE_CHECK(ops::on_host(weight_OI) && weight_OI.sizes() == codes_OI.sizes(), InvalidArgument,
              "squared_error: codes ", codes_OI.sizes(), " for a weight ", w_OI.sizes());
  const int64_t rows = codes_OI.size(0), columns = codes_OI.size(1);
  const std::vector<float> table = decode_table(grid.spec.type);
  const kernels::NumberFormat format = number_format_of(weight_OI.scalar_type(), "squared_error");
  const char* weight = static_cast<const char*>(weight_OI.const_data_ptr());
  const uint8_t* codes = static_cast<const uint8_t*>(codes_OI.const_data_ptr());
  std::vector<SquaredError> of_row(static_cast<size_t>(rows));  // added up in order, whoever computed them
  for_each_row(grid, rows, columns, 0.0f, [&](int64_t r, const float* scale_I, const float* zero_I) {
    kernels::RowError row{weight + r * columns * kernels::bytes_of(format),
                          format,
                          columns,
                          codes + r * columns,
                          table.data(),
                          scale_I,
                          zero_I,
                          0,
                          0};
    kernels::fast_kernels().row_error(row);
    of_row[static_cast<size_t>(r)] = {row.difference, row.whole};
  });
  SquaredError out;
  for (const SquaredError& row : of_row) {
    out.difference += row.difference;
    out.whole += row.whole;
  }
  return out;
}

}  // namespace swage::solvers
