#include "swage/ops/device.h"

#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include "swage/base/error.h"

namespace swage::ops {
namespace {

int gpu_count() { return at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0; }

}  // namespace

at::Device to_torch(Device device) {
  if (device.kind == Device::Kind::Cpu) return at::kCPU;
  const int gpus = gpu_count();
  if (device.kind == Device::Kind::Auto) return gpus > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  SWAGE_CHECK(device.index < gpus, Unsupported, "device ", to_string(device), ": libtorch finds ", gpus, " GPUs here",
              at::hasCUDA() ? "; is there a driver, and is one visible?" : ": this is its CPU half, and its CUDA half (libtorch_cuda) is missing");
  return at::Device(at::kCUDA, c10::DeviceIndex(device.index));
}

}  // namespace swage::ops
