// nvcc's language on the host, as far as swage's kernels use it: blocks one after the other, the threads of a block as
// coroutines that take turns at barriers and warp operations. Every thread runs up to a barrier before any goes on, so
// that a missing one shows as a wrong result more often than on a card.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __restrict__ __restrict

namespace swage::kernels::cuda {

struct Index {
  unsigned x = 0;
};

class HostBlock {
 public:
  HostBlock(int threads, int64_t shared_bytes)
      : shared_((size_t(shared_bytes) + sizeof(double) - 1) / sizeof(double), NAN),
        threads_(size_t(threads)) {}

  // Runs `body` once in each thread of block `index`.
  void run(unsigned index, unsigned blocks, const std::function<void()>& body);
  void sync_block();
  void sync_warp();
  double exchange(double x, unsigned with);  // what lane `lane ^ with` of this warp gave
  void* shared() { return shared_.data(); }

  static HostBlock*& current();

 private:
  struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    int64_t block_syncs = 0, warp_syncs = 0;
    double given = 0;
    bool finished = false;
  };

  static void enter();
  void yield();

  std::vector<double> shared_;
  std::vector<Thread> threads_;
  size_t running_ = 0;
  ucontext_t scheduler_{};
  const std::function<void()>* body_ = nullptr;
};

// The emulated registers.
inline thread_local Index threadIdx, blockIdx, blockDim, gridDim;

inline void __syncthreads() { HostBlock::current()->sync_block(); }
inline void __syncwarp() { HostBlock::current()->sync_warp(); }

template <class T>
T* shared_memory() {
  return static_cast<T*>(HostBlock::current()->shared());
}

inline double sum_of_warp(double x) {
  for (unsigned distance = 16; distance > 0; distance /= 2) x += HostBlock::current()->exchange(x, distance);
  return x;
}
inline float max_of_warp(float x) {
  for (unsigned distance = 16; distance > 0; distance /= 2)
    x = std::fmax(x, float(HostBlock::current()->exchange(double(x), distance)));
  return x;
}

template <class Kernel, class Arguments>
const char* launch(Kernel kernel, int64_t grid, int block, int64_t shared_bytes, void*, const Arguments& arguments) {
  HostBlock threads(block, shared_bytes);
  for (int64_t i = 0; i < grid; ++i) threads.run(unsigned(i), unsigned(grid), [&] { kernel(arguments); });
  return nullptr;
}

}  // namespace swage::kernels::cuda
