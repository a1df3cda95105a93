// Kernels of a forward of many sequences at once: products and attention whose rows do not know of each other, so that
// a row's numbers are the same bits whatever stands beside it. Sums are in an order that the row's own place in its
// sequence alone decides.
#pragma once
#include <cstdint>

#include "swage/kernels/number_format.h"

namespace swage::kernels {

inline constexpr int64_t kBlockTokens = 16;  // tokens of a block of the KV cache

// Numbers of a block of the KV cache. Int8 and E4M3 (FP8) are codes, to be multiplied with a scale of each token.
enum class CacheFormat { F32, BF16, F16, Int8, E4M3 };
constexpr bool has_scales(CacheFormat format) { return format == CacheFormat::Int8 || format == CacheFormat::E4M3; }
constexpr int64_t bytes_of(CacheFormat format) { return has_scales(format) ? 1 : format == CacheFormat::F32 ? 4 : 2; }

// out[t, o] = x[t] . w[o] + bias[o]; each by itself.
struct DotRows {
  const float* x;  // [rows, columns], rows x_stride apart
  int64_t rows, columns, x_stride;
  const float* weight;  // [outputs, columns]
  int64_t outputs;
  const float* bias;  // [outputs], or null
  float* out;         // [rows, outputs], rows out_stride apart
  int64_t out_stride;
  bool add;  // on top of what is in `out`
};

// Scores of rows of queries against the keys of one block: scores[r, j] = scales[j] * sum_e query[r, e] keys[e, j], e
// ascending.
struct BlockScores {
  const float* query;  // [rows, size]
  int64_t rows, size;
  const void* keys;  // [size, kBlockTokens]
  CacheFormat format;
  float* scores;  // [rows, kBlockTokens], rows scores_stride apart
  int64_t scores_stride;
  const float* scales = nullptr;  // [kBlockTokens], of codes alone
};

// out[r] += sum_j (weights[r, j] * scales[j]) values[j], j ascending over [first, end) of one block's tokens.
struct BlockValues {
  const float* weights;  // [rows, kBlockTokens], rows weights_stride apart
  int64_t rows, weights_stride, first, end;
  const void* values;  // [kBlockTokens, size]
  CacheFormat format;
  int64_t size;
  float* out;                     // [rows, size]
  const float* scales = nullptr;  // [kBlockTokens], of codes alone
};

// Scores of one query become weights in place: s = scale * score, softened to softcap * tanh(s / softcap), less slope
// for each position between key and query; softmax over the keys [first, last] that are chosen, 0 elsewhere. The sum
// has kBlockTokens parts, of the tokens in the same place of each block.
struct ScoreWeights {
  float* scores;                    // from position `base` on, which begins a block, to the end of last's block
  int64_t base, first, last;        // positions
  float scale;                      // above 0
  float softcap = 0;                // 0: none
  float slope = 0;                  // what the score loses a position, of the query at `last`
  const float* sink = nullptr;      // a score that takes part and has no value; null: none
  const uint8_t* chosen = nullptr;  // [last - base + 1]: which keys are seen; null: all
};

}  // namespace swage::kernels
