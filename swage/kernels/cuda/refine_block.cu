// As gptq_block.cu: a row a lane, sixteen columns in registers; the group's block of the Gram matrix, codes, pulls and
// the changes so far are in shared memory.
#include "swage/kernels/cuda/launch.h"
#include "swage/kernels/cuda/table.h"
#include "swage/kernels/rounding.h"

namespace swage::kernels::cuda {
namespace {

constexpr int kRows = 32, kThreads = 128, kStep = 16, kMost = int(kLongestRefit);

// What a lane needs of its row.
struct Row {
  int64_t index;
  bool active;
  int lane;
};

__device__ void load_block_of_gram(const RefineBlock& p, float* gram) {
  for (int at = int(threadIdx.x); at < kMost * kMost; at += kThreads) {
    const int row = at / kMost, column = at % kMost;
    gram[at] = row < p.count && column < p.count ? p.gram[(p.first + row) * p.columns + p.first + column] : 0.0f;
  }
}

// Fits the scale to the codes; leaves in `pull` what the gradient loses for each unit of the scale.
__device__ float refit(const RefineBlock& p, const Row& row, const float* gram, const float* centred, float* pull,
                       float scale) {
  float slope = 0, curvature = 0;
  for (int first = 0; first < p.count; first += kStep) {
    float sum[kStep];
#pragma unroll
    for (int j = 0; j < kStep; ++j) sum[j] = 0;
#pragma unroll 2
    for (int i = 0; i < p.count; ++i) {
      const float u = centred[i * kRows + row.lane];
#pragma unroll
      for (int j = 0; j < kStep; ++j) sum[j] = std::fma(u, gram[i * kMost + first + j], sum[j]);
    }
#pragma unroll
    for (int j = 0; j < kStep; ++j) {
      if (first + j >= p.count) break;
      const float u = centred[(first + j) * kRows + row.lane];
      pull[(first + j) * kRows + row.lane] = sum[j];
      slope += p.gradient[(p.first + first + j) * p.rows + row.index] * u;
      curvature += sum[j] * u;
    }
  }
  return refitted_scale(p.rule, scale, slope, curvature);
}

// One code after the other; `pull` becomes what each code changed by, times the scale.
__device__ void descend(const RefineBlock& p, const Row& row, const float* gram, const float* centred, float* pull,
                        float zero, float old_scale, float scale) {
  const float change_of_scale = scale - old_scale;
  for (int first = 0; first < p.count; first += kStep) {
    float gradient[kStep];
#pragma unroll
    for (int j = 0; j < kStep; ++j) {
      const bool inside = first + j < p.count;
      const float given = inside ? p.gradient[(p.first + first + j) * p.rows + row.index] : 0.0f;
      gradient[j] = inside && p.refit ? given - change_of_scale * pull[(first + j) * kRows + row.lane] : given;
    }
#pragma unroll 2
    for (int k = 0; k < first; ++k) {
      const float moved = pull[k * kRows + row.lane];
#pragma unroll
      for (int j = 0; j < kStep; ++j) gradient[j] = std::fma(-moved, gram[k * kMost + first + j], gradient[j]);
    }
#pragma unroll
    for (int j = 0; j < kStep; ++j) {
      if (first + j >= p.count) break;
      const int64_t column = p.first + first + j, at = column * p.rows + row.index;
      const float old_code = centred[(first + j) * kRows + row.lane] + zero;
      const bool kept = p.keep == nullptr || p.keep[at] != 0.0f;
      const float new_code =
          kept ? round_to_code(old_code + gradient[j] * p.inverse_diagonal[column] / scale, p.range) : old_code;
      const float moved = (new_code - old_code) * scale;
      pull[(first + j) * kRows + row.lane] = moved;
#pragma unroll
      for (int next = j + 1; next < kStep; ++next)
        gradient[next] = std::fma(-moved, gram[(first + j) * kMost + first + next], gradient[next]);
      if (!row.active) continue;
      p.codes[at] = encode_code(p.range.kind, new_code);
      p.change[(first + j) * p.rows + row.index] = (new_code - zero) * scale - (old_code - zero) * old_scale;
    }
  }
}

__global__ void __launch_bounds__(kThreads) refine_block_kernel(const RefineBlock p) {
  float* gram = shared_memory<float>();
  float* centred = gram + kMost * kMost;  // [kMost][kRows]: code - zero
  float* pull = centred + kMost * kRows;
  load_block_of_gram(p, gram);
  __syncthreads();
  if (threadIdx.x >= kRows) return;
  const int64_t at = int64_t(blockIdx.x) * kRows + threadIdx.x;
  const Row row{at < p.rows ? at : p.rows - 1, at < p.rows, int(threadIdx.x)};
  const float old_scale = p.scale[row.index], zero = p.zero == nullptr ? 0.0f : p.zero[row.index];
  for (int j = 0; j < p.count; ++j) {
    centred[j * kRows + row.lane] = decode_code(p.range.kind, p.codes[(p.first + j) * p.rows + row.index]) - zero;
  }
  const float scale = p.refit ? refit(p, row, gram, centred, pull, old_scale) : old_scale;
  descend(p, row, gram, centred, pull, zero, old_scale, scale);
  if (row.active) p.scale[row.index] = scale;
}

}  // namespace

const char* refine_block(const RefineBlock& p, void* stream) {
  constexpr int64_t kSharedBytes = (kMost * kMost + 2 * kMost * kRows) * int64_t(sizeof(float));
  return launch(refine_block_kernel, (p.rows + kRows - 1) / kRows, kThreads, kSharedBytes, stream, p);
}

}  // namespace swage::kernels::cuda
