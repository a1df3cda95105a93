// What a .cu file is written with: nvcc's language, or its emulation where the file is compiled for the host.
#pragma once
#include "swage/kernels/cuda/device_kernels.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>

namespace swage::kernels::cuda {

template <class T>
__device__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char swage_shared_bytes[];
  return reinterpret_cast<T*>(swage_shared_bytes);
}

__device__ inline double sum_of_warp(double x) {
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, distance);
  return x;
}
__device__ inline float max_of_warp(float x) {
  for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, distance));
  return x;
}

// Queues kernel<<<grid, block, shared_bytes>>>(arguments).
template <class Kernel, class Arguments>
const char* launch(Kernel kernel, int64_t grid, int block, int64_t shared_bytes, void* stream,
                   const Arguments& arguments) {
  if (grid == 0) return nullptr;
  if (shared_bytes > 48 << 10) {  // the driver's limit unless it is raised
    const cudaError_t raised =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (raised != cudaSuccess) return cudaGetErrorString(raised);
  }
  kernel<<<unsigned(grid), unsigned(block), size_t(shared_bytes), static_cast<cudaStream_t>(stream)>>>(arguments);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace swage::kernels::cuda

#else
#include "swage/kernels/cuda/host_threads.h"
#endif
