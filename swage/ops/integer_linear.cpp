#include "swage/ops/integer_linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <type_traits>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"

namespace swage::ops {
namespace {

using kernels::kPanel, kernels::kTileRows;

constexpr int64_t kWantedBlock =
    128;  // longest block: a finer one keeps more of the small activations beside an outlier

constexpr int64_t kRun = 128;  // tokens whose codes stay in the L2 cache beside a panel of the weight
static_assert(kRun % kTileRows == 0);
constexpr int64_t kWorthAThread = 1 << 22;  // multiplications: some 50 microseconds

// The longest even divisor of a group that is at most kWantedBlock; 0 if there is none.
int64_t block_of(int64_t group) {
  static_assert(kWantedBlock <= kernels::kLongestBlock);
  for (int64_t block = std::min(group, kWantedBlock); block > 1; --block) {
    if (group % block == 0 && block % 2 == 0) return block;
  }
  return 0;
}

// Whether blocks of that length are multiplied on tiles of bytes.
bool on_tiles(int64_t block) { return kernels::multiplies_tiles() && kernels::tile_step(block) != 0; }

// Where the panels of a weight go.
struct Places {
  at::Tensor weight, rest, scale;
};

// A quantized weight, its rows in panels as the kernel wants them.
template <class Code>
struct Panels {
  const Code* codes;   // [rows, columns]
  const Code* zero;    // [rows, groups], or null
  const float* scale;  // [rows, groups]
  int64_t rows, columns, groups, blocks;

  int64_t group() const { return columns / groups; }
  int zero_point(int64_t row, int64_t g) const { return zero == nullptr ? 0 : zero[row * groups + g]; }

  void lay_out(int64_t first, int64_t count, int16_t* to) const {
    if (count < kPanel) std::fill(to, to + columns * kPanel, int16_t{0});
    for (int64_t o = 0; o < count; ++o) {
      const Code* row = codes + (first + o) * columns;
      for (int64_t g = 0; g < groups; ++g) {
        const int zero_here = zero_point(first + o, g);
        for (int64_t i = g * group(); i < (g + 1) * group(); ++i)
          to[i / 2 * 2 * kPanel + 2 * o + i % 2] = static_cast<int16_t>(row[i] - zero_here);
      }
    }
  }

  // One group of a row in bytes, as w or w + rest. Returns the sign that its scale takes.
  float lay_out_group(int64_t row, int64_t g, int8_t* weight, int8_t* rest) const {
    const Code* from = codes + row * columns;
    const int zero_here = zero_point(row, g);
    const int64_t begin = g * group(), end = begin + group();
    // Two bytes reach from -256 to 254. 255 is only beside values of 0 and more: all of them change their sign.
    const auto beyond = [&](Code code) { return code - zero_here > 254; };
    const int sign = rest != nullptr && std::any_of(from + begin, from + end, beyond) ? -1 : 1;
    for (int64_t i = begin; i < end; ++i) {
      const int value = sign * (from[i] - zero_here), byte = std::clamp(value, -128, 127);
      weight[i / 4 * 4 * kTileRows + i % 4] = static_cast<int8_t>(byte);
      if (rest != nullptr) rest[i / 4 * 4 * kTileRows + i % 4] = static_cast<int8_t>(value - byte);
    }
    return static_cast<float>(sign);
  }

  void lay_out_bytes(int64_t first, int64_t count, int8_t* weight, int8_t* rest, float* scales) const {
    if (count < kPanel) std::fill(weight, weight + columns * kPanel, int8_t{0});
    if (count < kPanel && rest != nullptr) std::fill(rest, rest + columns * kPanel, int8_t{0});
    for (int64_t o = 0; o < count; ++o) {
      const int64_t start = o / kTileRows * kTileRows * columns + o % kTileRows * 4, per_group = blocks / groups;
      for (int64_t g = 0; g < groups; ++g) {
        const float sign = lay_out_group(first + o, g, weight + start, rest == nullptr ? nullptr : rest + start);
        for (int64_t b = g * per_group; b < (g + 1) * per_group; ++b) scales[b * kPanel + o] *= sign;
      }
    }
  }

  void lay_out_scales(int64_t first, int64_t count, float* to) const {
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t o = 0; o < count; ++o) to[b * kPanel + o] = scale[(first + o) * groups + b * groups / blocks];
    }
  }

  bool needs_two_bytes() const {
    if (zero == nullptr && std::is_signed_v<Code>) return false;
    bool beyond = false;
    for (int64_t g = 0; g < rows * groups && !beyond; ++g) {
      const int zero_here = zero_point(g / groups, g % groups);
      const Code* group_codes = codes + g * group();
      const auto [least, most] = std::minmax_element(group_codes, group_codes + group());
      beyond = *least - zero_here < -128 || *most - zero_here > 127;
    }
    return beyond;
  }

  Places lay_out_all(bool tiles) const {
    const int64_t panels = (rows + kPanel - 1) / kPanel;
    Places out;
    out.scale = at::zeros({panels, blocks, kPanel}, at::kFloat);
    if (tiles)
      out.weight = at::empty({panels, columns * kPanel}, at::kChar);
    else
      out.weight = at::empty({panels, columns / 2, kPanel, 2}, at::kShort);
    if (tiles && needs_two_bytes()) out.rest = at::empty_like(out.weight);
    at::parallel_for(0, panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * kPanel, count = std::min(kPanel, rows - first), place = first * columns;
        float* scales = out.scale.mutable_data_ptr<float>() + panel * blocks * kPanel;
        lay_out_scales(first, count, scales);
        if (!tiles) {
          lay_out(first, count, out.weight.mutable_data_ptr<int16_t>() + place);
          continue;
        }
        int8_t* rest = out.rest.defined() ? out.rest.mutable_data_ptr<int8_t>() + place : nullptr;
        lay_out_bytes(first, count, out.weight.mutable_data_ptr<int8_t>() + place, rest, scales);
      }
    });
    return out;
  }
};

template <class Code>
const Code* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<Code>() : nullptr;
}

void check_shapes(const at::Tensor& codes_OI, const at::Tensor& scale_OG, const at::Tensor& zero_point_OG) {
  const int64_t rows = codes_OI.size(0), columns = codes_OI.size(1);
  SWAGE_CHECK(
      scale_OG.dim() == 2 && scale_OG.size(0) == rows && scale_OG.size(1) > 0 && columns % scale_OG.size(1) == 0,
      InvalidArgument, "integer linear: codes ", codes_OI.sizes(), " with scales ", scale_OG.sizes());
  SWAGE_CHECK(!zero_point_OG.defined() ||
                  (zero_point_OG.sizes() == scale_OG.sizes() && zero_point_OG.scalar_type() == codes_OI.scalar_type()),
              InvalidArgument, "integer linear: scales ", scale_OG.sizes(), ", but zero points ", zero_point_OG.sizes(),
              " of ", zero_point_OG.scalar_type());
}

}  // namespace

std::optional<IntegerLinear> IntegerLinear::make(const at::Tensor& codes_OI, const at::Tensor& scale_OG,
                                                 const at::Tensor& zero_point_OG) {
  const at::ScalarType type = codes_OI.scalar_type();
  if (!codes_OI.is_cpu() || (type != at::kChar && type != at::kByte)) return {};
  check_shapes(codes_OI, scale_OG, zero_point_OG);
  const int64_t rows = codes_OI.size(0), columns = codes_OI.size(1), groups = scale_OG.size(1);
  const int64_t block = block_of(columns / groups);
  if (block == 0) return {};
  IntegerLinear out;
  out.rows_ = rows;
  out.columns_ = columns;
  out.block_ = block;
  const at::Tensor codes = codes_OI.contiguous(), scale = scale_OG.to(at::kFloat).contiguous();
  const at::Tensor zero = zero_point_OG.defined() ? zero_point_OG.contiguous() : zero_point_OG;
  const auto lay_out = [&]<class Code>(const Code* first) {
    const float* scales = scale.const_data_ptr<float>();
    const Panels<Code> weight{first, data_or_null<Code>(zero), scales, rows, columns, groups, columns / block};
    return weight.lay_out_all(on_tiles(block));
  };
  const Places places =
      type == at::kChar ? lay_out(codes.const_data_ptr<int8_t>()) : lay_out(codes.const_data_ptr<uint8_t>());
  out.weight_ = places.weight;
  out.rest_ = places.rest;
  out.scale_ = places.scale;
  return out;
}

IntegerInput IntegerLinear::quantize(const at::Tensor& x_TI, int64_t block) {
  SWAGE_CHECK(x_TI.dim() == 2 && x_TI.is_contiguous() && x_TI.scalar_type() == at::kFloat && x_TI.size(1) % block == 0,
              InvalidArgument, "integer input: expected a contiguous f32 matrix of whole blocks of ", block,
              " columns, got ", x_TI.scalar_type(), " ", x_TI.sizes());
  const int64_t tokens = x_TI.size(0), columns = x_TI.size(1), room = (tokens + kTileRows - 1) / kTileRows * kTileRows;
  IntegerInput out{tokens, columns, block, {}, {}};
  const float* x = x_TI.const_data_ptr<float>();
  if (on_tiles(block)) {
    out.codes = at::empty({room, 2 * columns}, at::kByte);
    out.scale = at::empty({room, columns / block}, at::kFloat);
    kernels::fast_kernels().quantize_planes(
        {x, tokens, columns, block, out.codes.mutable_data_ptr<uint8_t>(), out.scale.mutable_data_ptr<float>()});
    return out;
  }
  out.codes = at::empty({tokens, columns}, at::kShort);
  out.scale = at::empty({tokens, columns / block}, at::kFloat);
  kernels::fast_kernels().quantize_blocks(
      {x, x_TI.numel(), block, out.codes.mutable_data_ptr<int16_t>(), out.scale.mutable_data_ptr<float>()});
  return out;
}

// `count` tokens from `first` on, which begins a group of kTileRows.
void IntegerLinear::run_panel(const IntegerInput& x, int64_t panel, int64_t first, int64_t count, at::Tensor& out_TO,
                              bool add) const {
  const int64_t o = panel * kPanel, blocks = columns_ / block_, outputs = std::min(kPanel, rows_ - o),
                stride = out_TO.stride(0);
  const float* x_scale = x.scale.const_data_ptr<float>() + first * blocks;
  const float* weight_scale = scale_.const_data_ptr<float>() + o * blocks;
  float* out = out_TO.mutable_data_ptr<float>() + first * stride + o;
  if (x.codes.scalar_type() == at::kByte) {
    const int8_t* rest = rest_.defined() ? rest_.const_data_ptr<int8_t>() + o * columns_ : nullptr;
    kernels::fast_kernels().plane_product(
        {count, columns_, block_, x.codes.const_data_ptr<uint8_t>() + first * 2 * columns_, x_scale,
         weight_.const_data_ptr<int8_t>() + o * columns_, rest, weight_scale, out, stride, outputs, add});
    return;
  }
  kernels::fast_kernels().integer_product(
      {count, columns_, block_, x.codes.const_data_ptr<int16_t>() + first * columns_, x_scale,
       weight_.const_data_ptr<int16_t>() + o * columns_, weight_scale, out, stride, outputs, add});
}

void IntegerLinear::multiply(const IntegerInput& x, at::Tensor& out_TO, bool add) const {
  const int64_t tokens = x.tokens;
  SWAGE_CHECK(x.block == block_ && x.columns == columns_, InvalidArgument, "integer linear [", rows_, ", ", columns_,
              "] in blocks of ", block_, ": the input has ", x.columns, " columns in blocks of ", x.block);
  SWAGE_CHECK(out_TO.dim() == 2 && out_TO.size(0) == tokens && out_TO.size(1) == rows_ && out_TO.stride(1) == 1 &&
                  out_TO.scalar_type() == at::kFloat,
              InvalidArgument, "integer linear [", rows_, ", ", columns_, "]: ", tokens, " tokens do not go into ",
              out_TO.sizes());
  RECORD_FUNCTION("swage::integer_linear", {});
  const int64_t panels = (rows_ + kPanel - 1) / kPanel;
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, tokens * columns_ * kPanel));
  at::parallel_for(0, panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t first = 0; first < tokens; first += kRun) {
      for (int64_t panel = begin; panel < end; ++panel)
        run_panel(x, panel, first, std::min(kRun, tokens - first), out_TO, add);
    }
  });
}

}  // namespace swage::ops
