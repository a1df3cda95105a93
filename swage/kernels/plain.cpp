// The scalar twins: what each kernel computes, in the order of its definition.
#include <cmath>
#include <cstring>
#include <vector>

#include "swage/kernels/kernels.h"
#include "swage/kernels/plain_packed.h"
#include "swage/kernels/plain_rows.h"
#include "swage/kernels/plain_sparse.h"
#include "swage/kernels/rounding.h"

namespace swage::kernels {
namespace {

void gram_pack(const GramPack& pack) {
  const int64_t panels = (pack.columns + kPanel - 1) / kPanel;
  for (int64_t t = 0; t < pack.tokens; ++t) {
    for (int64_t c = 0; c < panels * kPanel; ++c) {
      const float x = c < pack.columns ? pack.x[t * pack.columns + c] : 0.0f;
      pack.packed[(c / kPanel * kGramChunk + t) * kPanel + c % kPanel] = x;
    }
  }
}

void gram_tile(const GramTile& tile) {
  const auto at = [&](int64_t token, int64_t column) {
    const int64_t chunk = token / kGramChunk, panel = column / kPanel;
    return tile.packed[((chunk * tile.panels + panel) * kGramChunk + token % kGramChunk) * kPanel + column % kPanel];
  };
  const int64_t row0 = tile.row_panel * kPanel, column0 = tile.column_panel * kPanel,
                stride = tile.column_panels * kPanel;
  for (int64_t r = 0; r < tile.row_panels * kPanel; ++r) {
    for (int64_t c = 0; c < stride; ++c) {
      double sum = 0;
      for (int64_t t = 0; t < tile.tokens; ++t)
        sum += static_cast<double>(at(t, row0 + r)) * static_cast<double>(at(t, column0 + c));
      if (row0 + r <= column0 + c) tile.sum[r * stride + c] += sum;
    }
  }
}

void cholesky_tile(const CholeskyTile& t) {
  for (int64_t r = 0; r < kPanel; ++r) {
    for (int64_t c = 0; c < kPanel; ++c) {
      for (int64_t k = 0; k < t.depth; ++k) t.tile[r * kPanel + c] -= t.a[k * kPanel + r] * t.b[k * kPanel + c];
      if (t.diagonal == nullptr) continue;
      for (int64_t k = 0; k < r; ++k) t.tile[r * kPanel + c] -= t.diagonal[k * kPanel + r] * t.tile[k * kPanel + c];
      t.tile[r * kPanel + c] /= t.diagonal[r * kPanel + r];
    }
  }
}

void row_error(RowError& row) {
  row.difference = row.whole = 0;
  for (int64_t i = 0; i < row.count; ++i) {
    const double w = double{load_as_float(row.weight, row.format, i)},
                 q = double{(row.values[row.codes[i]] - row.zero[i]) * row.scale[i]};
    row.difference += (w - q) * (w - q);
    row.whole += w * w;
  }
}

// One row of the weight; `lane` is its place in the panel.
void gptq_row(const GptqPanel& p, int64_t lane) {
  double loss = 0;
  for (int64_t i = 0; i < p.columns; ++i) {
    const float* m = p.m + gptq_m_offset(i / kColumnGroup) + i % kColumnGroup;
    float v = p.weight_error[i * kPanel + lane];
    for (int64_t k = 0; k < i; ++k) v = std::fma(m[k * kColumnGroup], p.weight_error[k * kPanel + lane], v);
    const int64_t g = p.group[i] * kPanel + lane;
    const bool kept = p.keep == nullptr || p.keep[i * kPanel + lane] != 0;
    const float code = kept ? round_to_code(std::fma(v, p.inverse_scale[g], p.zero[g]), p.range) : p.zero[g];
    const float rounded = (code - p.zero[g]) * p.scale[g];
    p.codes[i * kPanel + lane] = encode_code(p.range.kind, code);
    p.weight_error[i * kPanel + lane] -= rounded;
    loss += static_cast<double>(p.d[i]) * static_cast<double>(v - rounded) * static_cast<double>(v - rounded);
  }
  p.loss[lane] = loss;
}

void gptq_panel(const GptqPanel& p) {
  for (int64_t lane = 0; lane < kPanel; ++lane) gptq_row(p, lane);
}

double error_of(const ScaleSearchPanel& p, int64_t lane, float scale, float zero) {
  double sum = 0;
  for (int64_t i = 0; i < p.count; ++i) {
    const float w = p.weight[i * kSearchLanes + lane];
    const float code = round_to_code(w / scale + zero, p.range);
    const double importance =
        p.importance == nullptr ? 1.0 : static_cast<double>(p.importance[i * kSearchLanes + lane]);
    sum +=
        importance * std::pow(std::fabs(static_cast<double>((code - zero) * scale - w)), static_cast<double>(p.norm));
  }
  return sum;
}

void search_lane(const ScaleSearchPanel& p, int64_t lane) {
  double best = INFINITY;
  for (int64_t i = 0; i < p.steps; ++i) {
    const Candidate c =
        scale_candidate(p.low[lane], p.high[lane], p.factors[i], p.symmetric, p.divisor, p.rule, p.range);
    const double error = error_of(p, lane, c.scale, c.zero);
    if (!(error < best) && i > 0) continue;
    best = error;
    if (p.step != nullptr) p.step[lane] = static_cast<int32_t>(i);
    if (p.improved != nullptr) p.improved[i] = 1;
    p.scale[lane] = c.scale;
    p.zero[lane] = c.zero;
  }
}

void search_one_group(const ScaleSearchPanel& p) {
  const double unit = std::pow(std::max({-p.low[0], p.high[0], 1e-30f}), static_cast<double>(p.norm));
  for (int64_t i = 0; i < p.steps; ++i) {
    const Candidate c = scale_candidate(p.low[0], p.high[0], p.factors[i], p.symmetric, p.divisor, p.rule, p.range);
    p.scale[i] = c.scale;
    p.zero[i] = c.zero;
    p.error[i] = 0;
    for (int64_t lane = 0; lane < kSearchLanes; ++lane) p.error[i] += error_of(p, lane, c.scale, c.zero) / unit;
  }
}

void search_scales(const ScaleSearchPanel& p) {
  if (p.error != nullptr) return search_one_group(p);
  for (int64_t lane = 0; lane < kSearchLanes; ++lane) search_lane(p, lane);
}

void quantize_row(const QuantizeRow& row) {
  for (int64_t i = 0; i < row.count; ++i) {
    const float t = load_as_float(row.weight, row.format, i) / row.scale[i] + row.zero[i];
    row.codes[i] = encode_code(row.range.kind, round_to_code(t, row.range));
  }
}

void value_range(ValueRange& range) {
  range.low = range.high = load_as_float(range.values, range.format, 0);
  bool finite = true;
  for (int64_t i = 0; i < range.count; ++i) {
    const float x = load_as_float(range.values, range.format, i);
    finite = finite && std::isfinite(x);
    range.low = std::min(range.low, x);
    range.high = std::max(range.high, x);
  }
  if (!finite) range.low = NAN;
}

// One row of the weight; `lane` is its place in the panel.
void refine_row(const RefinePanel& p, int64_t lane) {
  const auto at = [&](float* values, int64_t j) -> float& { return values[j * kPanel + lane]; };
  const float old_scale = p.scale[lane], zero = p.zero[lane];
  float scale = old_scale;
  if (p.refit) {
    float slope = 0, curvature = 0;
    std::vector<float> pull(static_cast<size_t>(p.count));
    for (int64_t j = 0; j < p.count; ++j) {
      float& pulled = pull[static_cast<size_t>(j)];
      for (int64_t i = 0; i < p.count; ++i) pulled += (at(p.code, i) - zero) * p.gram[i * p.count + j];
      slope += at(p.gradient, j) * (at(p.code, j) - zero);
      curvature += pulled * (at(p.code, j) - zero);
    }
    scale = refitted_scale(p.rule, scale, slope, curvature);
    for (int64_t j = 0; j < p.count; ++j) at(p.gradient, j) -= (scale - old_scale) * pull[static_cast<size_t>(j)];
  }
  p.scale[lane] = scale;
  for (int64_t j = 0; j < p.count; ++j) {
    const float old_code = at(p.code, j);
    const bool kept = p.keep == nullptr || p.keep[j * kPanel + lane] != 0;
    const float new_code =
        kept ? round_to_code(old_code + at(p.gradient, j) * p.inverse_diagonal[j] / scale, p.range) : old_code;
    at(p.code, j) = new_code;
    at(p.change, j) = (new_code - zero) * scale - (old_code - zero) * old_scale;
    for (int64_t k = j + 1; k < p.count; ++k)
      at(p.gradient, k) -= (new_code - old_code) * scale * p.gram[j * p.count + k];
  }
}

void refine_panel(const RefinePanel& p) {
  for (int64_t lane = 0; lane < kPanel; ++lane) refine_row(p, lane);
}

void quantize_blocks(const QuantizeBlocks& q) {
  for (int64_t block = 0; block < q.count / q.block; ++block) {
    const float* x = q.x + block * q.block;
    float largest = 0, bad = 0;
    for (int64_t i = 0; i < q.block; ++i) {
      largest = std::max(largest, std::fabs(x[i]));
      bad += x[i] - x[i];  // NaN if x is NaN or infinite
    }
    const float scale = block_scale(largest), inverse = scale == 0 ? 0 : 1 / scale;
    q.scale[block] = scale + bad;
    for (int64_t i = 0; i < q.block && bad == 0; ++i) q.codes[block * q.block + i] = block_code(x[i], inverse);
  }
}

void integer_product(const IntegerProduct& p) {
  const int64_t blocks = p.columns / p.block;
  for (int64_t r = 0; r < p.rows; ++r) {
    for (int64_t o = 0; o < p.outputs; ++o) {
      float sum = 0;
      for (int64_t b = 0; b < blocks; ++b) {
        int64_t exact = 0;
        for (int64_t i = b * p.block; i < (b + 1) * p.block; ++i) {
          exact += p.x[r * p.columns + i] * p.weight[i / 2 * 2 * kPanel + 2 * o + i % 2];
        }
        const float scale = p.x_scale[r * blocks + b] * p.weight_scale[b * kPanel + o];
        sum = std::fma(static_cast<float>(exact), scale, sum);
      }
      float& out = p.out[r * p.out_stride + o];
      out = p.add ? out + sum : sum;
    }
  }
}

}  // namespace

const KernelTable& plain_kernels() {
  static const KernelTable table{
      gram_pack,     gram_tile,     cholesky_tile,   gptq_panel,      search_scales, quantize_row,  value_range,
      row_error,     refine_panel,  quantize_blocks, integer_product, prune_gather,  prune_panel,   sparse_refit_panel,
      rms_norm,      silu_multiply, rotate_heads,    softmax_rows,    largest_size,  column_ranges, round_to_integers,
      round_to_e4m3, round_to_e2m1, split_blocks,    packed_product,  row_product};
  return table;
}

}  // namespace swage::kernels
