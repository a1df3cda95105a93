#include "swage/model/rope.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "swage/ops/rows.h"

namespace swage::model {
namespace {

double llama3_frequency(const RopeSpec& rope, double frequency) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double original = static_cast<double>(rope.original_positions);
  if (wavelength < original / rope.high_freq_factor) return frequency;
  if (wavelength > original / rope.low_freq_factor) return frequency / rope.factor;
  const double smooth = (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - smooth) * frequency / rope.factor + smooth * frequency;
}

// The dimension whose angle makes `rotations` full turns over the original context.
double correction_dimension(const RopeSpec& rope, double rotations) {
  return static_cast<double>(rope.size) *
         std::log(static_cast<double>(rope.original_positions) / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.theta));
}

// Share of interpolation for each frequency: a ramp from 0 to 1 over the correction range.
std::vector<double> yarn_ramp(const RopeSpec& rope) {
  double low = correction_dimension(rope, rope.beta_fast), high = correction_dimension(rope, rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.size - 1));
  if (low == high) high += 0.001;  // keeps the ramp finite
  std::vector<double> ramp(rope.size / 2);
  for (size_t i = 0; i < ramp.size(); ++i)
    ramp[i] = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return ramp;
}

double base_for_length(const RopeSpec& rope, int64_t length) {
  if (rope.kind != RopeKind::Dynamic || length <= rope.max_positions) return rope.theta;
  const double dimensions = static_cast<double>(rope.size);
  const double ratio = static_cast<double>(length) / static_cast<double>(rope.max_positions);
  return rope.theta * std::pow(rope.factor * ratio - (rope.factor - 1), dimensions / (dimensions - 2));
}

RopeTable make_table(const RopeSpec& rope, int64_t rows, int64_t length, at::Device device) {
  const std::vector<float> frequencies = inverse_frequencies(rope, length);
  const int64_t count = static_cast<int64_t>(frequencies.size());
  RopeTable table{at::empty({rows, count}, at::kFloat), at::empty({rows, count}, at::kFloat)};
  float* cosine = table.cos_TF.mutable_data_ptr<float>();
  float* sine = table.sin_TF.mutable_data_ptr<float>();
  const bool longer = rope.kind == RopeKind::LongRope && length > rope.original_positions;
  const double factor = longer ? rope.long_attention_factor : rope.attention_factor;
  for (int64_t position = 0; position < rows; ++position) {
    for (int64_t i = 0; i < count; ++i) {
      // The angle is a float32 product, as in the reference; only its cosine is taken more precisely.
      const double angle = static_cast<float>(position) * frequencies[i];
      *cosine++ = static_cast<float>(std::cos(angle) * factor);
      *sine++ = static_cast<float>(std::sin(angle) * factor);
    }
  }
  return {table.cos_TF.to(device), table.sin_TF.to(device)};
}

}  // namespace

std::vector<float> inverse_frequencies(const RopeSpec& rope, int64_t length) {
  const double base = base_for_length(rope, length);
  const std::vector<double> ramp = rope.kind == RopeKind::Yarn ? yarn_ramp(rope) : std::vector<double>();
  std::vector<float> out(rope.size / 2);
  for (size_t i = 0; i < out.size(); ++i) {
    double frequency = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rope.size));
    if (rope.kind == RopeKind::LongRope)
      frequency /= (length > rope.original_positions ? rope.long_factors : rope.short_factors)[i];
    if (rope.kind == RopeKind::Linear) frequency /= rope.factor;
    if (rope.kind == RopeKind::Proportional) {
      const auto turning = static_cast<size_t>(rope.share * static_cast<double>(rope.size) / 2);
      frequency = i < turning ? frequency / rope.factor : 0;
    }
    if (rope.kind == RopeKind::Llama3) frequency = llama3_frequency(rope, frequency);
    if (rope.kind == RopeKind::Yarn) frequency = frequency * (1 - ramp[i]) + frequency / rope.factor * ramp[i];
    out[i] = static_cast<float>(frequency);
  }
  return out;
}

double yarn_attention_factor(double factor, double mscale, double mscale_all_dim) {
  const auto scaled = [factor](double by) { return factor <= 1 ? 1.0 : 0.1 * by * std::log(factor) + 1; };
  if (mscale != 0 && mscale_all_dim != 0) return scaled(mscale) / scaled(mscale_all_dim);
  return scaled(1);
}

RopeTable Rope::table(int64_t position, int64_t count, int64_t length) const {
  const std::lock_guard lock(mutex_);
  const bool grows = spec_.kind == RopeKind::Dynamic && length > spec_.max_positions;
  // A dynamic base beyond the trained length belongs to exactly one length; other tables serve every shorter one.
  const bool longer = spec_.kind == RopeKind::LongRope && length > spec_.original_positions;
  if (longer != long_) rows_ = 0, long_ = longer;  // other factors for all positions
  if (grows) {
    if (rows_ != length) table_ = make_table(spec_, length, length, device_), rows_ = length;
  } else if (length > rows_ || (spec_.kind == RopeKind::Dynamic && rows_ > spec_.max_positions)) {
    int64_t rows = std::max({length, int64_t{256}, 2 * rows_});
    if (spec_.kind == RopeKind::Dynamic) rows = std::min(rows, spec_.max_positions);
    if (spec_.kind == RopeKind::LongRope && !longer) rows = std::min(rows, spec_.original_positions);
    table_ = make_table(spec_, rows, length, device_), rows_ = rows;
  }
  return {table_.cos_TF.narrow(0, position, count), table_.sin_TF.narrow(0, position, count)};
}

int64_t Rope::same_up_to() const {
  if (spec_.kind == RopeKind::Dynamic) return spec_.max_positions;
  return spec_.kind == RopeKind::LongRope ? spec_.original_positions : 0;
}

void Rope::rotate_with(at::Tensor x_THE, const RopeTable& table, int64_t first) const {
  at::Tensor x_THR = first == 0 && spec_.size == x_THE.size(2) ? x_THE : x_THE.narrow(2, first, spec_.size);
  const auto rotate = spec_.interleaved ? ops::rotate_pairs_ : ops::rotate_halves_;
  rotate(x_THR, table.cos_TF, table.sin_TF);
}

void Rope::rotate_(at::Tensor& x_THE, int64_t position, int64_t first) const {
  rotate_with(x_THE, table(position, x_THE.size(0)), first);
}

void Rope::rotate_known_(at::Tensor& x_THE, int64_t position, int64_t known, int64_t first) const {
  const int64_t count = x_THE.size(0), same = same_up_to();
  if (same == 0 || std::max(known, position + count) <= same) return rotate_with(x_THE, table(position, count), first);
  const int64_t together = std::clamp<int64_t>(known - position, 0, count);
  if (together > 0) rotate_with(x_THE.narrow(0, 0, together), table(position, together, known), first);
  for (int64_t t = together; t < count; ++t)
    rotate_with(x_THE.narrow(0, t, 1), table(position + t, 1, position + t + 1), first);
}

}  // namespace swage::model
