// The plugin's one symbol.
#include <cstdio>

#include "swage/kernels/cuda/launch.h"
#include "swage/kernels/cuda/table.h"

namespace swage::kernels::cuda {
namespace {

const char* text_of(cudaError_t error) { return error == cudaSuccess ? nullptr : cudaGetErrorString(error); }

const char* last_error() {
  const cudaError_t error = cudaDeviceSynchronize();
  return text_of(error != cudaSuccess ? error : cudaGetLastError());
}

const char* describe(int device, char* text, int64_t size) {
  cudaDeviceProp card{};
  int driver = 0;
  cudaError_t error = cudaGetDeviceProperties(&card, device);
  if (error == cudaSuccess) error = cudaDriverGetVersion(&driver);
  if (error != cudaSuccess) return cudaGetErrorString(error);
  std::snprintf(text, size_t(size), "%s, compute capability %d.%d, driver for CUDA %d.%d", card.name, card.major,
                card.minor, driver / 1000, driver % 1000 / 10);
  return nullptr;
}

}  // namespace
}  // namespace swage::kernels::cuda

extern "C" __attribute__((visibility("default"))) const swage::kernels::DeviceKernels* swage_device_kernels() {
  using namespace swage::kernels;
  static const DeviceKernels table{kDeviceKernelsVersion, cuda::gptq_block, cuda::search_scales, cuda::refine_block,
                                   cuda::gram_add,        cuda::dequantize, cuda::rms_norm,      cuda::silu_multiply,
                                   cuda::rotate_heads,    cuda::last_error, cuda::describe};
  return &table;
}
