// A warp owns 32 rows of the weight, a row a lane. Columns are finished sixteen at a time, whose values are in
// registers; the block of M and the errors of the block's earlier columns are in shared memory. Sums run over k in
// ascending order, as in the plain twin.
#include "swage/kernels/cuda/launch.h"
#include "swage/kernels/cuda/table.h"
#include "swage/kernels/rounding.h"

namespace swage::kernels::cuda {
namespace {

constexpr int kRows = 32, kThreads = 128, kStep = 16, kBlock = int(kGptqBlock);

__device__ void load_block_of_m(const GptqBlock& p, float* m) {
  for (int at = int(threadIdx.x); at < kBlock * kBlock; at += kThreads) {
    const int row = at / kBlock, column = at % kBlock;
    const bool inside = row < column && column < p.count;
    m[at] = inside ? p.m[(p.begin + row) * p.columns + p.begin + column] : 0.0f;
  }
}

// What sixteen columns of a row are rounded with, read ahead of their values: a load takes longer than a column.
struct Step {
  float v[kStep], w[kStep], scale[kStep], inverse[kStep], zero[kStep];
};

__device__ void load_step(const GptqBlock& p, int first, int64_t row, Step& s) {
#pragma unroll
  for (int j = 0; j < kStep; ++j) {
    const int i = first + j < p.count ? first + j : int(p.count) - 1;
    const int64_t column = p.begin + i, g = int64_t(p.group[column]) * p.rows + row;
    s.v[j] = p.value[i * p.rows + row];
    s.w[j] = p.weight_error[column * p.rows + row];
    s.scale[j] = p.scale[g];
    s.zero[j] = p.zero == nullptr ? 0.0f : p.zero[g];
  }
#pragma unroll
  for (int j = 0; j < kStep; ++j) s.inverse[j] = 1.0f / s.scale[j];
}

__global__ void __launch_bounds__(kThreads) gptq_block_kernel(const GptqBlock p) {
  float* m = shared_memory<float>();
  float* e = m + kBlock * kBlock;  // [kBlock][kRows]
  load_block_of_m(p, m);
  __syncthreads();
  if (threadIdx.x >= kRows) return;
  const int lane = int(threadIdx.x);
  const bool active = int64_t(blockIdx.x) * kRows + lane < p.rows;
  const int64_t row =
      active ? int64_t(blockIdx.x) * kRows + lane : p.rows - 1;  // lanes without a row repeat the last one
  double loss = 0;
  for (int first = 0; first < p.count; first += kStep) {
    Step s;
    load_step(p, first, row, s);
#pragma unroll 4
    for (int k = 0; k < first; ++k) {
      const float error = e[k * kRows + lane];
#pragma unroll
      for (int j = 0; j < kStep; ++j) s.v[j] = std::fma(m[k * kBlock + first + j], error, s.v[j]);
    }
#pragma unroll
    for (int j = 0; j < kStep; ++j) {
      if (first + j >= p.count) break;
      const bool kept = !(p.keep_zeros && s.w[j] == 0.0f);
      const float code = kept ? round_to_code(std::fma(s.v[j], s.inverse[j], s.zero[j]), p.range) : s.zero[j];
      const float rounded = (code - s.zero[j]) * s.scale[j], error = s.w[j] - rounded;
      const double off = static_cast<double>(s.v[j] - rounded);
      e[(first + j) * kRows + lane] = error;
#pragma unroll
      for (int next = j + 1; next < kStep; ++next)
        s.v[next] = std::fma(m[(first + j) * kBlock + first + next], error, s.v[next]);
      const int64_t column = p.begin + first + j;
      loss += static_cast<double>(p.d[column]) * off * off;
      if (!active) continue;
      p.codes[column * p.rows + row] = encode_code(p.range.kind, code);
      p.weight_error[column * p.rows + row] = error;
    }
  }
  if (active) p.loss[row] += loss;
}

}  // namespace

const char* gptq_block(const GptqBlock& p, void* stream) {
  constexpr int64_t kSharedBytes = (kBlock * kBlock + kBlock * kRows) * int64_t(sizeof(float));
  return launch(gptq_block_kernel, (p.rows + kRows - 1) / kRows, kThreads, kSharedBytes, stream, p);
}

}  // namespace swage::kernels::cuda
