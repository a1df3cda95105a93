#include "swage/ops/integer_linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"

namespace swage::ops {
namespace {

using kernels::kPanel;

constexpr int64_t kWantedBlock =
    128;  // longest block: a finer one keeps more of the small activations beside an outlier

constexpr int64_t kRun = 128;               // tokens whose codes stay in the L2 cache beside a panel of the weight
constexpr int64_t kWorthAThread = 1 << 22;  // multiplications: some 50 microseconds

// The longest even divisor of a group that is at most kWantedBlock; 0 if there is none.
int64_t block_of(int64_t group) {
  static_assert(kWantedBlock <= kernels::kLongestBlock);
  for (int64_t block = std::min(group, kWantedBlock); block > 1; --block) {
    if (group % block == 0 && block % 2 == 0) return block;
  }
  return 0;
}

// A quantized weight, its rows in panels as the kernel wants them.
template <class Code>
struct Panels {
  const Code* codes;   // [rows, columns]
  const Code* zero;    // [rows, groups], or null
  const float* scale;  // [rows, groups]
  int64_t rows, columns, groups, blocks;

  void lay_out(int64_t first, int64_t count, int16_t* to) const {
    const int64_t group = columns / groups;
    if (count < kPanel) std::fill(to, to + columns * kPanel, int16_t{0});
    for (int64_t o = 0; o < count; ++o) {
      const Code* row = codes + (first + o) * columns;
      for (int64_t g = 0; g < groups; ++g) {
        const int zero_point = zero == nullptr ? 0 : zero[(first + o) * groups + g];
        for (int64_t i = g * group; i < (g + 1) * group; ++i) {
          to[i / 2 * 2 * kPanel + 2 * o + i % 2] = static_cast<int16_t>(row[i] - zero_point);
        }
      }
    }
  }

  void lay_out_scales(int64_t first, int64_t count, float* to) const {
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t o = 0; o < count; ++o) to[b * kPanel + o] = scale[(first + o) * groups + b * groups / blocks];
    }
  }

  void lay_out_all(at::Tensor& weight, at::Tensor& scales) const {
    int16_t* to = weight.mutable_data_ptr<int16_t>();
    float* scales_to = scales.mutable_data_ptr<float>();
    at::parallel_for(0, (rows + kPanel - 1) / kPanel, 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t first = panel * kPanel, count = std::min(kPanel, rows - first);
        lay_out(first, count, to + panel * columns * kPanel);
        lay_out_scales(first, count, scales_to + panel * blocks * kPanel);
      }
    });
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
  const int64_t panels = (rows + kPanel - 1) / kPanel, blocks = columns / block;
  out.weight_ = at::empty({panels, columns / 2, kPanel, 2}, at::kShort);
  out.scale_ = at::zeros({panels, blocks, kPanel}, at::kFloat);
  const at::Tensor codes = codes_OI.contiguous(), scale = scale_OG.to(at::kFloat).contiguous();
  const at::Tensor zero = zero_point_OG.defined() ? zero_point_OG.contiguous() : zero_point_OG;
  const auto lay_out = [&]<class Code>(const Code* first) {
    const float* scales = scale.const_data_ptr<float>();
    const Panels<Code> weight{first, data_or_null<Code>(zero), scales, rows, columns, groups, blocks};
    weight.lay_out_all(out.weight_, out.scale_);
  };
  if (type == at::kChar)
    lay_out(codes.const_data_ptr<int8_t>());
  else
    lay_out(codes.const_data_ptr<uint8_t>());
  return out;
}

IntegerInput IntegerLinear::quantize(const at::Tensor& x_TI, int64_t block) {
  SWAGE_CHECK(x_TI.dim() == 2 && x_TI.is_contiguous() && x_TI.scalar_type() == at::kFloat && x_TI.size(1) % block == 0,
              InvalidArgument, "integer input: expected a contiguous f32 matrix of whole blocks of ", block,
              " columns, got ", x_TI.scalar_type(), " ", x_TI.sizes());
  IntegerInput out{at::empty(x_TI.sizes(), at::kShort), at::empty({x_TI.size(0), x_TI.size(1) / block}, at::kFloat),
                   block};
  kernels::fast_kernels().quantize_blocks({x_TI.const_data_ptr<float>(), x_TI.numel(), block,
                                           out.codes_TI.mutable_data_ptr<int16_t>(),
                                           out.scale_TB.mutable_data_ptr<float>()});
  return out;
}

void IntegerLinear::multiply(const IntegerInput& x, at::Tensor& out_TO, bool add) const {
  const int64_t tokens = x.codes_TI.size(0), blocks = columns_ / block_;
  SWAGE_CHECK(x.block == block_ && x.codes_TI.size(1) == columns_, InvalidArgument, "integer linear [", rows_, ", ",
              columns_, "] in blocks of ", block_, ": the input is ", x.codes_TI.sizes(), " in blocks of ", x.block);
  SWAGE_CHECK(out_TO.dim() == 2 && out_TO.size(0) == tokens && out_TO.size(1) == rows_ && out_TO.stride(1) == 1 &&
                  out_TO.scalar_type() == at::kFloat,
              InvalidArgument, "integer linear [", rows_, ", ", columns_, "]: ", tokens, " tokens do not go into ",
              out_TO.sizes());
  RECORD_FUNCTION("swage::integer_linear", {});
  const int16_t* codes = x.codes_TI.const_data_ptr<int16_t>();
  const float* scale = x.scale_TB.const_data_ptr<float>();
  const int64_t stride = out_TO.stride(0);
  float* out = out_TO.mutable_data_ptr<float>();
  const auto run_panel = [&](int64_t o, int64_t first) {
    const int64_t count = std::min(kRun, tokens - first);
    kernels::fast_kernels().integer_product({count, columns_, block_, codes + first * columns_, scale + first * blocks,
                                             weight_.const_data_ptr<int16_t>() + o * columns_,
                                             scale_.const_data_ptr<float>() + o * blocks, out + first * stride + o,
                                             stride, std::min(kPanel, rows_ - o), add});
  };
  const int64_t panels = (rows_ + kPanel - 1) / kPanel;
  const int64_t grain = std::max<int64_t>(1, kWorthAThread / std::max<int64_t>(1, tokens * columns_ * kPanel));
  at::parallel_for(0, panels, grain, [&](int64_t begin, int64_t end) {
    for (int64_t first = 0; first < tokens; first += kRun) {
      for (int64_t panel = begin; panel < end; ++panel) run_panel(panel * kPanel, first);
    }
  });
}

}  // namespace swage::ops
