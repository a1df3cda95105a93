// Fused loops over rows on the CPU, single-threaded: the small steps between a forward's GEMMs, one pass over memory
// each. Raw pointers, float32, rows contiguous unless a stride is given. Results do not depend on the CPU's vector
// width.
#pragma once
#include <cstdint>

namespace swage::model::rows {

// out = x / sqrt(mean(x^2) + epsilon) * weight; in place is allowed.
void rms_norm(const float* x, const float* weight, int64_t rows, int64_t size, float epsilon, float* out);
// Turns every head of x [tokens, heads, 2 * half] in place; cosine and sine are [tokens, half].
void rotate(float* x, const float* cosine, const float* sine, int64_t tokens, int64_t heads, int64_t half);
// gate = gate / (1 + exp(-gate)) * up
void silu_multiply(float* gate, const float* up, int64_t count);
// Which keys a row of scores sees: row i belongs to query i / repeats, query t sees keys up to `offset` + t, with
// `window` > 0 only the last `window` of those.
struct VisibleKeys {
  int64_t offset, window, repeats;
};
// Each row of scores [rows, keys] becomes softmax(scale * scores) over its visible keys and 0 elsewhere.
void softmax(float* scores, int64_t rows, int64_t keys, float scale, const VisibleKeys& visible);
// Largest |x| of `count` values.
float absmax(const float* x, int64_t count);
// Least, largest and sum of |x| of each column of x [rows, size], on top of what `low`, `high` and `sum` hold. NaN
// where a column holds one. sum: null if it is not wanted.
void column_ranges(const float* x, int64_t rows, int64_t size, float* low, float* high, double* sum);
// out = clamp(round(x / scale + zero_point), low, high), minus zero_point, times scale
void round_to_integers(const float* x, int64_t count, float scale, float zero_point, float low, float high, float* out);
// out = float8_e4m3(clamp(x / scale, -448, 448)) * scale
void round_to_e4m3(const float* x, int64_t count, float scale, float* out);
// out = float4_e2m1(clamp(x / scale, -6, 6)) * scale
void round_to_e2m1(const float* x, int64_t count, float scale, float* out);

}  // namespace swage::model::rows
