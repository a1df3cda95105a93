#include "swage/kernels/plain_paged.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "swage/kernels/plain_rows.h"

namespace swage::kernels {
namespace {

float load_cached(const void* data, CacheFormat format, int64_t i) {
  switch (format) {
    case CacheFormat::BF16:
      return load_as_float(data, NumberFormat::BF16, i);
    case CacheFormat::F16:
      return load_as_float(data, NumberFormat::F16, i);
    case CacheFormat::Int8:
      return decode_code(CodeKind::Int, static_cast<const uint8_t*>(data)[i]);
    case CacheFormat::E4M3:
      return decode_code(CodeKind::E4M3, static_cast<const uint8_t*>(data)[i]);
    case CacheFormat::F32:
      break;
  }
  return load_as_float(data, NumberFormat::F32, i);
}

float scaled(float x, const float* scales, int64_t j) { return scales == nullptr ? x : x * scales[j]; }

}  // namespace

void dot_rows(const DotRows& p) {
  for (int64_t t = 0; t < p.rows; ++t) {
    for (int64_t o = 0; o < p.outputs; ++o) {
      double sum = p.bias == nullptr ? 0 : double(p.bias[o]);
      for (int64_t i = 0; i < p.columns; ++i)
        sum += double(p.x[t * p.x_stride + i]) * double(p.weight[o * p.columns + i]);
      float& out = p.out[t * p.out_stride + o];
      out = float(p.add ? out + sum : sum);
    }
  }
}

void block_scores(const BlockScores& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t j = 0; j < kBlockTokens; ++j) {
      float sum = 0;
      for (int64_t e = 0; e < p.size; ++e)
        sum = std::fma(p.query[r * p.size + e], load_cached(p.keys, p.format, e * kBlockTokens + j), sum);
      p.scores[r * p.scores_stride + j] = scaled(sum, p.scales, j);
    }
  }
}

void block_values(const BlockValues& p) {
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t v = 0; v < p.size; ++v) {
      float sum = p.out[r * p.size + v];
      for (int64_t j = p.first; j < p.end; ++j)
        sum = std::fma(scaled(p.weights[r * p.weights_stride + j], p.scales, j),
                       load_cached(p.values, p.format, j * p.size + v), sum);
      p.out[r * p.size + v] = sum;
    }
  }
}

void score_weights(const ScoreWeights& p) {
  float* s = p.scores;
  const int64_t first = p.first - p.base, last = p.last - p.base,
                end = last / kBlockTokens * kBlockTokens + kBlockTokens;
  const auto is_seen = [&](int64_t i) { return i >= first && i <= last && (p.chosen == nullptr || p.chosen[i] != 0); };
  float most = p.sink == nullptr ? -INFINITY : *p.sink;
  for (int64_t i = 0; i < end; ++i) {
    if (!is_seen(i)) continue;
    s[i] *= p.scale;
    if (p.softcap > 0) s[i] = std::tanh(s[i] / p.softcap) * p.softcap;
    if (p.slope != 0) s[i] += p.slope * float(i - last);
    most = std::max(most, s[i]);
  }
  float parts[kBlockTokens] = {};
  for (int64_t i = 0; i < end; ++i) {
    s[i] = is_seen(i) ? exponential(s[i] - most) : 0.0f;
    parts[i % kBlockTokens] += s[i];
  }
  float sum = p.sink == nullptr ? 0.0f : exponential(*p.sink - most);
  for (const float part : parts) sum += part;
  for (int64_t i = 0; i < end; ++i) s[i] *= 1.0f / sum;
}

}  // namespace swage::kernels
