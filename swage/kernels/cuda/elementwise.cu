// Kernels that are a pass over memory.
#include "swage/kernels/cuda/launch.h"
#include "swage/kernels/cuda/table.h"
#include "swage/kernels/rounding.h"

namespace swage::kernels::cuda {
namespace {

constexpr int kThreads = 256, kLanes = 32;
constexpr int64_t kMostBlocks = 1 << 16;

__device__ int64_t first_of_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ int64_t threads_of_grid() { return int64_t(gridDim.x) * blockDim.x; }

int64_t blocks_for(int64_t count) {
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  return blocks < kMostBlocks ? blocks : kMostBlocks;
}

__global__ void __launch_bounds__(kThreads) gram_add_kernel(const GramAdd p) {
  for (int64_t at = first_of_thread(); at < p.rows * p.columns; at += threads_of_grid()) {
    const int64_t row = p.row0 + at / p.columns, column = p.column0 + at % p.columns;
    if (row <= column) p.gram[row * p.width + column] += static_cast<double>(p.tile[at]);
  }
}

__global__ void __launch_bounds__(kThreads) dequantize_kernel(const DequantizeRows p) {
  const int64_t groups = p.columns / p.group;
  for (int64_t at = first_of_thread(); at < p.rows * p.columns; at += threads_of_grid()) {
    const int64_t g = at / p.columns * groups + at % p.columns / p.group;
    p.out[at] = (decode_code(p.kind, p.codes[at]) - (p.zero == nullptr ? 0.0f : p.zero[g])) * p.scale[g];
  }
}

// A row a block.
__global__ void __launch_bounds__(kThreads) rms_norm_kernel(const RmsNormRows p) {
  double* part = shared_memory<double>();
  const float* x = p.x + int64_t(blockIdx.x) * p.size;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < p.size; i += kThreads) sum += static_cast<double>(x[i] * x[i]);
  sum = sum_of_warp(sum);
  if (threadIdx.x % kLanes == 0) part[threadIdx.x / kLanes] = sum;
  __syncthreads();
  double whole = 0;
  for (int warp = 0; warp < kThreads / kLanes; ++warp) whole += part[warp];
  const float scale = 1.0f / std::sqrt(static_cast<float>(whole / static_cast<double>(p.size)) + p.epsilon);
  for (int64_t i = threadIdx.x; i < p.size; i += kThreads) {
    const float value = x[i] * scale * p.weight[i];
    const int64_t at = int64_t(blockIdx.x) * p.size + i;
    if (p.out_bf16 != nullptr)
      p.out_bf16[at] = bf16_bits(value);
    else
      p.out[at] = value;
  }
}

__global__ void __launch_bounds__(kThreads) silu_multiply_kernel(const SiluMultiply p) {
  for (int64_t i = first_of_thread(); i < p.count; i += threads_of_grid()) {
    const float x = p.gate[i];
    p.gate[i] = x / (1.0f + std::exp(-x)) * p.up[i];
  }
}

__global__ void __launch_bounds__(kThreads) rotate_heads_kernel(const RotateHeads p) {
  for (int64_t at = first_of_thread(); at < p.tokens * p.heads * p.half; at += threads_of_grid()) {
    const int64_t i = at % p.half, head = at / p.half, angle = head / p.heads * p.half + i;
    float* first = p.x + head * 2 * p.half + i;
    const float a = first[0], b = first[p.half], c = p.cosine[angle], s = p.sine[angle];
    first[0] = a * c - b * s;
    first[p.half] = b * c + a * s;
  }
}

}  // namespace

const char* gram_add(const GramAdd& p, void* stream) {
  return launch(gram_add_kernel, blocks_for(p.rows * p.columns), kThreads, 0, stream, p);
}

const char* dequantize(const DequantizeRows& p, void* stream) {
  return launch(dequantize_kernel, blocks_for(p.rows * p.columns), kThreads, 0, stream, p);
}

const char* rms_norm(const RmsNormRows& p, void* stream) {
  return launch(rms_norm_kernel, p.rows, kThreads, kThreads / kLanes * int64_t(sizeof(double)), stream, p);
}

const char* silu_multiply(const SiluMultiply& p, void* stream) {
  return launch(silu_multiply_kernel, blocks_for(p.count), kThreads, 0, stream, p);
}

const char* rotate_heads(const RotateHeads& p, void* stream) {
  return launch(rotate_heads_kernel, blocks_for(p.tokens * p.heads * p.half), kThreads, 0, stream, p);
}

}  // namespace swage::kernels::cuda
