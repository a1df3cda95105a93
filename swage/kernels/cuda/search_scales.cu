// A warp owns a group: it tries one candidate after the other, its lanes a part of the weights each.
#include "swage/kernels/cuda/launch.h"
#include "swage/kernels/cuda/table.h"
#include "swage/kernels/rounding.h"

namespace swage::kernels::cuda {
namespace {

constexpr int kLanes = 32, kThreads = 128;

__device__ float power(float x, float norm) { return norm == 2.0f ? x * x : std::pow(x, norm); }

__device__ double error_of(const ScaleSearchRows& p, const float* weight, const float* importance, int lane,
                           Candidate c) {
  constexpr int kRun = 16;  // terms that a lane sums in f32
  double sum = 0;
  for (int64_t first = lane; first < p.group; first += kRun * kLanes) {
    float part = 0;
    for (int64_t i = first; i < p.group && i < first + kRun * kLanes; i += kLanes) {
      const float w = weight[i], code = round_to_code(w / c.scale + c.zero, p.range);
      const float error = power(std::fabs((code - c.zero) * c.scale - w), p.norm);
      part += importance == nullptr ? error : importance[i] * error;
    }
    sum += static_cast<double>(part);
  }
  return sum_of_warp(sum);
}

__global__ void __launch_bounds__(kThreads) search_scales_kernel(const ScaleSearchRows p) {
  const int64_t groups = p.columns / p.group;
  const int64_t task = int64_t(blockIdx.x) * (kThreads / kLanes) + threadIdx.x / kLanes;
  if (task >= p.rows * groups) return;  // all lanes of a warp alike
  const int lane = int(threadIdx.x) % kLanes;
  const int64_t column = task % groups * p.group;
  const float* weight = p.weight + task / groups * p.columns + column;
  const float* importance = p.importance == nullptr ? nullptr : p.importance + column;
  float low = 0, high = 0, unusual = 0;
  for (int64_t i = lane; i < p.group; i += kLanes) {
    const float w = weight[i];
    unusual = w - w == 0.0f ? unusual : 1.0f;  // NaN and infinities
    low = w < low ? w : low;
    high = w > high ? w : high;
  }
  low = -max_of_warp(-low);
  high = max_of_warp(high);
  if (max_of_warp(unusual) > 0) {
    if (lane == 0) *p.bad = 1;
    return;
  }
  double best = 0;
  Candidate chosen{0, 0};
  for (int64_t i = 0; i < p.steps; ++i) {
    const Candidate c = scale_candidate(low, high, p.factors[i], p.symmetric, p.divisor, p.rule, p.range);
    const double error = error_of(p, weight, importance, lane, c);
    if (i > 0 && !(error < best)) continue;
    best = error;
    chosen = c;
  }
  if (lane != 0) return;
  p.scale[task] = chosen.scale;
  if (p.zero != nullptr) p.zero[task] = chosen.zero;
}

}  // namespace

const char* search_scales(const ScaleSearchRows& p, void* stream) {
  constexpr int64_t kGroups = kThreads / kLanes;
  return launch(search_scales_kernel, (p.rows * (p.columns / p.group) + kGroups - 1) / kGroups, kThreads, 0, stream, p);
}

}  // namespace swage::kernels::cuda
