#include "swage/ops/packed_linear.h"

#include <ATen/Parallel.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"
#include "swage/ops/shared_work.h"

namespace swage::ops {
namespace {

using kernels::kPackedRows, kernels::NumberFormat, kernels::PackedCode;

constexpr int64_t kWantedBlock = 32;  // a longer one has more small activations beside an outlier
constexpr int64_t kShortestBlock = 8;
constexpr int64_t kTokensAtOnce = 128;     // tokens whose planes stay in the L2 cache beside a panel of the weight
constexpr int64_t kPiece = 1 << 18;        // products that a thread takes at once: some 5 microseconds at one token
constexpr int64_t kWorthWaking = 1 << 20;  // products: below, a sleeping thread would come too late
constexpr int64_t kPanelsAtOnce = 8;

int64_t panels_of(int64_t rows) { return (rows + kPackedRows - 1) / kPackedRows; }

// The longest divisor of a group that is at most kWantedBlock; 0 if it is too short.
int64_t block_of(int64_t group) {
  for (int64_t block = std::min(group, kWantedBlock); block >= kShortestBlock; --block) {
    if (group % block == 0) return block;
  }
  return 0;
}

// Eight codes of a row, and what is left of a block, to their lanes.
void pack_eight(const uint8_t* codes, int64_t count, PackedCode kind, int64_t o, uint8_t* to) {
  uint64_t eight = 0;
  std::memcpy(&eight, codes, size_t(std::min<int64_t>(count, 8)));
  if (kind == PackedCode::U8) {
    eight ^= 0x8080808080808080u;  // code + 128
    const uint32_t first = uint32_t(eight), second = uint32_t(eight >> 32);
    std::memcpy(to + 4 * o, &first, 4);
    std::memcpy(to + 4 * kPackedRows + 4 * o, &second, 4);
    return;
  }
  eight &= 0x0F0F0F0F0F0F0F0Fu;
  if (kind == PackedCode::U4) eight ^= 0x0808080808080808u;  // code + 8
  const uint32_t halves = uint32_t(eight) | uint32_t(eight >> 32) << 4;
  std::memcpy(to + 4 * o, &halves, 4);
}

// A quantized weight on its way into panels.
struct Panels {
  const uint8_t* codes;  // [rows, columns]
  PackedCode kind;
  int64_t rows, columns, block;

  int64_t block_bytes() const { return kernels::padded_block(block) * kPackedRows * kernels::code_bits(kind) / 8; }

  void lay_out(int64_t panel, uint8_t* to) const {
    const int64_t first = panel * kPackedRows, count = std::min(kPackedRows, rows - first), blocks = columns / block;
    const int64_t eight_bytes = 8 * kPackedRows * kernels::code_bits(kind) / 8;
    if (count < kPackedRows) std::memset(to, 0, size_t(blocks * block_bytes()));
    for (int64_t b = 0; b < blocks; ++b) {
      for (int64_t k = 0; k < block; k += 8, to += eight_bytes) {
        const uint8_t* from = codes + first * columns + b * block + k;
        for (int64_t o = 0; o < count; ++o) pack_eight(from + o * columns, block - k, kind, o, to);
      }
    }
  }
};

// [O, G] to [panels, G, kPackedRows], zeros behind the last row.
at::Tensor lanes_of(const at::Tensor& values_OG) {
  const int64_t rows = values_OG.size(0), groups = values_OG.size(1), panels = panels_of(rows);
  at::Tensor padded = at::zeros({panels * kPackedRows, groups}, values_OG.options());
  padded.narrow(0, 0, rows).copy_(values_OG);
  return padded.view({panels, kPackedRows, groups}).transpose(1, 2).contiguous();
}

struct Narrowed {
  at::Tensor values;
  NumberFormat format;
};

// The same numbers in 16 bits, if these hold them.
Narrowed narrowed(const at::Tensor& values) {
  for (const auto& [type, format] : {std::pair{at::kHalf, NumberFormat::F16}, {at::kBFloat16, NumberFormat::BF16}}) {
    const at::Tensor narrow = values.to(type);
    if (narrow.to(at::kFloat).equal(values)) return {narrow, format};
  }
  return {values, NumberFormat::F32};
}

// Columns sorted by group, or nothing if groups have uneven numbers of them.
std::optional<at::Tensor> order_of(const at::Tensor& group_I, int64_t groups) {
  const at::Tensor counts = at::bincount(group_I.to(at::kLong), {}, groups);
  if (counts.numel() != groups || !counts.eq(group_I.numel() / groups).all().item<bool>()) return {};
  return at::argsort(group_I, /*stable=*/true, /*dim=*/0);
}

at::Tensor scales_of(const PackedCodes& weight) {
  const at::Tensor scale = weight.scale_OG.to(at::kFloat);
  return scale.numel() == 1 ? scale.reshape({1, 1}).expand({weight.codes_OI.size(0), 1}).contiguous() : scale;
}

void check_shapes(const PackedCodes& weight, const at::Tensor& scale_OG) {
  SWAGE_CHECK(weight.codes_OI.dim() == 2 && scale_OG.dim() == 2 && scale_OG.size(0) == weight.codes_OI.size(0) &&
                  scale_OG.size(1) > 0,
              InvalidArgument, "packed linear: codes ", weight.codes_OI.sizes(), " with scales ", scale_OG.sizes());
  SWAGE_CHECK(!weight.zero_point_OG.defined() || weight.zero_point_OG.numel() == weight.scale_OG.numel(),
              InvalidArgument, "packed linear: scales ", scale_OG.sizes(), ", but zero points ",
              weight.zero_point_OG.sizes());
  SWAGE_CHECK(!weight.group_I.defined() || weight.group_I.numel() == weight.codes_OI.size(1), InvalidArgument,
              "packed linear: ", weight.codes_OI.sizes(), " with groups of ", weight.group_I.sizes(), " columns");
}

// int8 zero points in the codes' own numbers, uint8.
at::Tensor zeros_of(const at::Tensor& zero_point_OG, int zero, int64_t rows) {
  const at::Tensor zeros = zero_point_OG.to(at::kInt).add_(zero).to(at::kByte);
  return lanes_of(zeros.numel() == 1 ? zeros.reshape({1, 1}).expand({rows, 1}) : zeros);
}

bool is_held(const PackedCodes& weight) {
  const at::ScalarType type = weight.codes_OI.scalar_type();
  return weight.codes_OI.is_cpu() && (type == at::kChar || type == at::kByte) && weight.bits >= 2 && weight.bits <= 8;
}

PackedCode kind_of(const PackedCodes& weight) {
  if (weight.codes_OI.scalar_type() == at::kByte) return PackedCode::E2M1;
  return weight.bits <= 4 ? PackedCode::U4 : PackedCode::U8;
}

// The stored code of 0.
int zero_of(PackedCode kind) {
  if (kind == PackedCode::E2M1) return kernels::kE2m1Zero;
  return kind == PackedCode::U4 ? 8 : 128;
}

}  // namespace

std::optional<PackedLinear> PackedLinear::of_codes(const PackedCodes& weight) {
  if (!is_held(weight)) return {};
  const at::Tensor scale_OG = scales_of(weight);
  check_shapes(weight, scale_OG);
  PackedLinear out;
  out.rows_ = weight.codes_OI.size(0);
  out.columns_ = weight.codes_OI.size(1);
  out.groups_ = scale_OG.size(1);
  out.block_ = out.columns_ % out.groups_ == 0 ? block_of(out.columns_ / out.groups_) : 0;
  if (out.block_ == 0) return {};
  at::Tensor codes = weight.codes_OI.contiguous();
  if (weight.group_I.defined()) {
    const std::optional<at::Tensor> order_I = order_of(weight.group_I, out.groups_);
    if (!order_I) return {};
    out.order_I_ = *order_I;
    codes = codes.index_select(1, *order_I);
  }
  out.kind_ = kind_of(weight);
  out.zero_point_ = zero_of(out.kind_);
  // The table of E2M1 holds twice the values.
  out.factor_ = float(out.kind_ == PackedCode::E2M1 ? weight.factor / 2 : weight.factor);
  Narrowed scales = narrowed(lanes_of(scale_OG));
  out.scale_ = scales.values;
  out.format_ = scales.format;
  if (weight.zero_point_OG.defined()) out.zero_ = zeros_of(weight.zero_point_OG, out.zero_point_, out.rows_);
  const Panels panels{static_cast<const uint8_t*>(codes.const_data_ptr()), out.kind_, out.rows_, out.columns_,
                      out.block_};
  const int64_t count = panels_of(out.rows_), bytes = out.columns_ / out.block_ * panels.block_bytes();
  out.weight_ = at::empty({count, bytes}, at::kByte);
  uint8_t* to = out.weight_.mutable_data_ptr<uint8_t>();
  at::parallel_for(0, count, kPanelsAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) panels.lay_out(panel, to + panel * bytes);
  });
  return out;
}

std::optional<PackedLinear> PackedLinear::of_rows(const at::Tensor& weight_OI) {
  const at::ScalarType type = weight_OI.scalar_type();
  const bool known = type == at::kFloat || type == at::kBFloat16 || type == at::kHalf;
  if (!weight_OI.is_cpu() || weight_OI.dim() != 2 || !weight_OI.is_contiguous() || !known) return {};
  PackedLinear out;
  out.rows_ = weight_OI.size(0);
  out.columns_ = weight_OI.size(1);
  out.format_ = type == at::kFloat ? NumberFormat::F32 : type == at::kHalf ? NumberFormat::F16 : NumberFormat::BF16;
  out.weight_ = weight_OI;
  return out;
}

int64_t PackedLinear::weight_bytes() const {
  int64_t bytes = 0;
  for (const at::Tensor* part : {&weight_, &scale_, &zero_}) bytes += part->defined() ? int64_t(part->nbytes()) : 0;
  return bytes;
}

PackedInput PackedLinear::input(const at::Tensor& x_TI) const {
  SWAGE_CHECK(x_TI.dim() == 2 && x_TI.size(1) == columns_ && x_TI.scalar_type() == at::kFloat && x_TI.is_cpu(),
              InvalidArgument, "packed linear [", rows_, ", ", columns_, "]: expected a matrix of f32, got ",
              x_TI.scalar_type(), " ", x_TI.sizes());
  PackedInput out;
  out.x_TI = order_I_.defined() ? x_TI.index_select(1, order_I_) : x_TI.contiguous();
  out.block = block_;
  out.ordered = order_I_.defined();
  if (block_ == 0) return out;
  const int64_t tokens = x_TI.size(0), blocks = columns_ / block_;
  out.planes_TC = at::empty({tokens, blocks * 2 * kernels::padded_block(block_)}, at::kChar);
  out.scale_TB = at::empty({tokens, blocks}, at::kFloat);
  out.sum_TB = at::empty({tokens, blocks}, at::kInt);
  kernels::fast_kernels().split_blocks(
      {out.x_TI.const_data_ptr<float>(), tokens * columns_, block_, out.planes_TC.mutable_data_ptr<int8_t>(),
       out.scale_TB.mutable_data_ptr<float>(), out.sum_TB.mutable_data_ptr<int32_t>()});
  return out;
}

void PackedLinear::check(const PackedInput& x, const at::Tensor& out_TO) const {
  const int64_t tokens = x.x_TI.size(0);
  SWAGE_CHECK(x.block == block_ && x.x_TI.size(1) == columns_ && x.ordered == order_I_.defined(), InvalidArgument,
              "packed linear [", rows_, ", ", columns_, "] in blocks of ", block_, ": the input is ", x.x_TI.sizes(),
              " in blocks of ", x.block);
  SWAGE_CHECK(out_TO.dim() == 2 && out_TO.size(0) == tokens && out_TO.size(1) == rows_ && out_TO.stride(1) == 1 &&
                  out_TO.scalar_type() == at::kFloat,
              InvalidArgument, "packed linear [", rows_, ", ", columns_, "]: ", tokens, " tokens do not go into ",
              out_TO.sizes());
}

// The product with the panels from output `first` on, all tokens.
kernels::PackedProduct PackedLinear::product(const PackedInput& x, int64_t first) const {
  const int64_t blocks = columns_ / block_, panel = first / kPackedRows, lane = panel * groups_ * kPackedRows;
  kernels::PackedProduct out{};
  out.blocks = blocks;
  out.block = kernels::padded_block(block_);
  out.planes = x.planes_TC.const_data_ptr<int8_t>();
  out.x_scale = x.scale_TB.const_data_ptr<float>();
  out.x_sum = x.sum_TB.const_data_ptr<int32_t>();
  out.kind = kind_;
  out.codes = weight_.const_data_ptr<uint8_t>() + panel * weight_.size(1);
  out.scale = static_cast<const char*>(scale_.const_data_ptr()) + lane * kernels::bytes_of(format_);
  out.scale_format = format_;
  out.factor = factor_;
  out.zero = zero_.defined() ? zero_.const_data_ptr<uint8_t>() + lane : nullptr;
  out.zero_point = zero_point_;
  out.blocks_in_group = blocks / groups_;
  return out;
}

void PackedLinear::run(const PackedInput& x, at::Tensor& out_TO, int64_t first, int64_t end, bool add) const {
  const int64_t tokens = x.x_TI.size(0), stride = out_TO.stride(0);
  float* out = out_TO.mutable_data_ptr<float>() + first;
  if (block_ == 0) {
    const char* weight =
        static_cast<const char*>(weight_.const_data_ptr()) + first * columns_ * kernels::bytes_of(format_);
    for (int64_t token = 0; token < tokens; token += kTokensAtOnce)
      kernels::fast_kernels().row_product({std::min(kTokensAtOnce, tokens - token), columns_,
                                           x.x_TI.const_data_ptr<float>() + token * columns_, weight, format_,
                                           out + token * stride, stride, end - first, add});
    return;
  }
  kernels::PackedProduct part = product(x, first);
  part.out_stride = stride;
  part.outputs = end - first;
  part.add = add;
  for (int64_t token = 0; token < tokens; token += kTokensAtOnce) {
    part.rows = std::min(kTokensAtOnce, tokens - token);
    part.out = out + token * stride;
    kernels::fast_kernels().packed_product(part);
    part.planes += part.rows * x.planes_TC.size(1);
    part.x_scale += part.rows * part.blocks;
    part.x_sum += part.rows * part.blocks;
  }
}

void PackedLinear::multiply(const PackedInput& x, at::Tensor& out_TO, bool add) const {
  const PackedLinear* one = this;
  multiply_together({&one, 1}, x, {&out_TO, 1}, add);
}

void multiply_together(std::span<const PackedLinear* const> linears, const PackedInput& x,
                       std::span<at::Tensor> outs_TO, bool add) {
  std::vector<int64_t> begins = {0};  // of the linears' panels among all
  int64_t products = 0;
  for (size_t i = 0; i < linears.size(); ++i) {
    linears[i]->check(x, outs_TO[i]);
    begins.push_back(begins.back() + panels_of(linears[i]->rows_));
    products += linears[i]->rows_ * linears[i]->columns_ * x.x_TI.size(0);
  }
  if (products == 0) return;
  RECORD_FUNCTION("swage::packed_linear", {});
  const int64_t panels = begins.back(), together = std::max<int64_t>(1, kPiece * panels / products);
  share_work((panels + together - 1) / together, products >= kWorthWaking, [&](int64_t piece) {
    const int64_t begin = piece * together, end = std::min(panels, begin + together);
    for (size_t i = 0; i < linears.size(); ++i) {
      const int64_t first = std::max(begin, begins[i]) - begins[i], last = std::min(end, begins[i + 1]) - begins[i];
      if (first < last)
        linears[i]->run(x, outs_TO[i], first * kPackedRows, std::min(last * kPackedRows, linears[i]->rows_), add);
    }
  });
}

}  // namespace swage::ops
