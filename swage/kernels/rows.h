// Kernels of rows: the small steps between the products of a forward, one pass over memory each. float32, rows
// contiguous. Results do not depend on the width of the CPU's vectors: sums have 16 parts, of every 16th value each,
// which are added in order at the end.
#pragma once
#include <cstdint>

namespace swage::kernels {

inline constexpr int64_t kRowLanes = 16;  // parts of a row's sum

// out = x / sqrt(mean(x^2) + epsilon) * weight, row by row; in place is allowed.
struct RmsNormRows {
  const float* x;       // [rows, size]
  const float* weight;  // [size]
  int64_t rows, size;
  float epsilon;
  float* out;                    // or, of a GPU's kernel,
  uint16_t* out_bf16 = nullptr;  // where this is not null
};

// gate = gate / (1 + exp(-gate)) * up
struct SiluMultiply {
  float* gate;  // [count]
  const float* up;
  int64_t count;
};

// Every head of x in place, element i with element i + half.
struct RotateHeads {
  float* x;             // [tokens, heads, 2 * half]
  const float* cosine;  // [tokens, half]
  const float* sine;
  int64_t tokens, heads, half;
};

// Each row of scores becomes softmax(scale * scores) over the keys that it sees and 0 elsewhere. Row i belongs to query
// i / repeats; query t sees keys up to offset + t, with a window only the last `window` of those.
struct SoftmaxRows {
  float* scores;  // [rows, keys]
  int64_t rows, keys;
  float scale;
  int64_t offset, window, repeats;  // window 0: all
};

// Largest |x|.
struct LargestSize {
  const float* x;  // [count]
  int64_t count;
  float largest;  // out
};

// Least and largest value and sum of |x| of each column, on top of what is there. NaN where a column holds one.
struct ColumnRanges {
  const float* x;  // [rows, size]
  int64_t rows, size;
  float* low;   // [size]
  float* high;  // [size]
  double* sum;  // [size], or null
};

// out = (clamp(round(x / scale + zero_point), low, high) - zero_point) * scale
struct RoundToIntegers {
  const float* x;  // [count]
  int64_t count;
  float scale, zero_point, low, high;
  float* out;
};

// out = e(clamp(x / scale, -largest, largest)) * scale, e the nearest value of float8_e4m3 (largest 448) or float4_e2m1
// (6), ties to even.
struct RoundToFloats {
  const float* x;  // [count]
  int64_t count;
  float scale;
  float* out;
};

}  // namespace swage::kernels
