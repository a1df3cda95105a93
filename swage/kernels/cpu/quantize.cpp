// Round-to-nearest codes of a row, the range of its values, and how far its codes are from them, read in the format
// they are stored in.
#include "swage/kernels/cpu/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "swage/kernels/cpu/quantize.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "swage/kernels/cpu/rounding-inl.h"
#include "swage/kernels/cpu/versions.h"

HWY_BEFORE_NAMESPACE();
namespace swage::kernels {
namespace HWY_NAMESPACE {
namespace {

template <CodeKind kKind>
HWY_INLINE void quantize_v(VF w, const float* scale, const float* zero, VF min, VF max, uint8_t* codes) {
  const DF d;
  // Adding the zero point turns -0 into +0, as the format wants it.
  const VF t = hn::Add(hn::Div(w, hn::LoadU(d, scale)), hn::LoadU(d, zero));
  store_codes<kKind>(round_to_code<kKind>(t, min, max), codes);
}

template <CodeKind kKind, NumberFormat kFormat>
void quantize_span(const QuantizeRow& row) {
  const DF d;
  const VF min = hn::Set(d, row.range.min), max = hn::Set(d, row.range.max);
  int64_t i = 0;
  for (; i + kLanes <= row.count; i += kLanes) {
    quantize_v<kKind>(load_as_float_v<kFormat>(row.weight, i), row.scale + i, row.zero + i, min, max, row.codes + i);
  }
  if (i == row.count) return;
  float w[kLanes] = {}, scale[kLanes], zero[kLanes] = {};
  uint8_t codes[kLanes];
  for (int64_t k = 0; k < kLanes; ++k) {
    const bool inside = i + k < row.count;
    if (inside) w[k] = load_as_float(row.weight, kFormat, i + k);
    if (inside) zero[k] = row.zero[i + k];
    scale[k] = inside ? row.scale[i + k] : 1.0f;
  }
  quantize_v<kKind>(hn::LoadU(d, w), scale, zero, min, max, codes);
  for (int64_t k = 0; i + k < row.count; ++k) row.codes[i + k] = codes[k];
}

template <CodeKind kKind>
void quantize_format(const QuantizeRow& row) {
  switch (row.format) {
    case NumberFormat::F32:
      return quantize_span<kKind, NumberFormat::F32>(row);
    case NumberFormat::BF16:
      return quantize_span<kKind, NumberFormat::BF16>(row);
    case NumberFormat::F16:
      return quantize_span<kKind, NumberFormat::F16>(row);
  }
}

template <NumberFormat kFormat>
void range_of(ValueRange& range) {
  const DF d;
  float low = load_as_float(range.values, kFormat, 0), high = low, bad = low - low;
  int64_t i = 0;
  if (range.count >= kLanes) {
    VF lows = hn::Set(d, low), highs = lows, bads = hn::Zero(d);
    for (; i + kLanes <= range.count; i += kLanes) {
      const VF x = load_as_float_v<kFormat>(range.values, i);
      lows = hn::Min(lows, x);
      highs = hn::Max(highs, x);
      bads = hn::Add(bads, hn::Sub(x, x));  // 0, or NaN if x is NaN or infinite
    }
    low = hn::GetLane(hn::MinOfLanes(d, lows));
    high = hn::GetLane(hn::MaxOfLanes(d, highs));
    bad += hn::GetLane(hn::SumOfLanes(d, bads));
  }
  for (; i < range.count; ++i) {
    const float x = load_as_float(range.values, kFormat, i);
    low = x < low ? x : low;
    high = x > high ? x : high;
    bad += x - x;
  }
  range.low = low + bad;  // bad is 0 or NaN
  range.high = high;
}

template <NumberFormat kFormat>
void error_of(RowError& row) {
  const DF d;
  const DI di;
  const hn::Rebind<uint8_t, DI> d8;
  row.difference = row.whole = 0;
  int64_t i = 0;
  while (i + kLanes <= row.count) {
    VF difference = hn::Zero(d), whole = hn::Zero(d);
    for (int64_t run = 0; run < kErrorRun && i + kLanes <= row.count; ++run, i += kLanes) {
      const VF w = load_as_float_v<kFormat>(row.weight, i);
      const VF code = hn::GatherIndex(d, row.values, hn::PromoteTo(di, hn::LoadU(d8, row.codes + i)));
      const VF e = hn::Sub(w, hn::Mul(hn::Sub(code, hn::LoadU(d, row.zero + i)), hn::LoadU(d, row.scale + i)));
      difference = hn::MulAdd(e, e, difference);
      whole = hn::MulAdd(w, w, whole);
    }
    row.difference += double{hn::GetLane(hn::SumOfLanes(d, difference))};
    row.whole += double{hn::GetLane(hn::SumOfLanes(d, whole))};
  }
  for (; i < row.count; ++i) {
    const double w = double{load_as_float(row.weight, kFormat, i)},
                 q = double{(row.values[row.codes[i]] - row.zero[i]) * row.scale[i]};
    row.difference += (w - q) * (w - q);
    row.whole += w * w;
  }
}

}  // namespace

void quantize_row(const QuantizeRow& row) {
  for_kind(row.range.kind, [&]<CodeKind kKind>() { quantize_format<kKind>(row); });
}

void value_range(ValueRange& range) {
  switch (range.format) {
    case NumberFormat::F32:
      return range_of<NumberFormat::F32>(range);
    case NumberFormat::BF16:
      return range_of<NumberFormat::BF16>(range);
    case NumberFormat::F16:
      return range_of<NumberFormat::F16>(range);
  }
}

void row_error(RowError& row) {
  switch (row.format) {
    case NumberFormat::F32:
      return error_of<NumberFormat::F32>(row);
    case NumberFormat::BF16:
      return error_of<NumberFormat::BF16>(row);
    case NumberFormat::F16:
      return error_of<NumberFormat::F16>(row);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace swage::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace swage::kernels {
HWY_EXPORT(quantize_row);
HWY_EXPORT(value_range);
HWY_EXPORT(row_error);
void quantize_row_fast(const QuantizeRow& row) { HWY_DYNAMIC_DISPATCH(quantize_row)(row); }
void value_range_fast(ValueRange& range) { HWY_DYNAMIC_DISPATCH(value_range)(range); }
void row_error_fast(RowError& row) { HWY_DYNAMIC_DISPATCH(row_error)(row); }
}  // namespace swage::kernels
#endif
