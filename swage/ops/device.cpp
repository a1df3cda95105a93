#include "swage/ops/device.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>

#include <atomic>

#include "swage/base/error.h"
#include "swage/kernels/cuda/device_kernels.h"
#include "swage/ops/cuda_library.h"

namespace swage::ops {

namespace {

std::atomic<bool> f32_products = false;  // of the process, as the library that computes there is

}  // namespace

at::Device to_torch(Device device) {
  if (device.kind == Device::Kind::Cpu) return at::kCPU;
  const CudaLibrary& library = cuda_library(device.torch_folder);
  f32_products = device.f32_products;
  if (device.kind == Device::Kind::Auto) return library.gpus > 0 ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  SWAGE_CHECK(library.gpus > 0, Io, "device ", to_string(device), ": ", library.refusal);
  SWAGE_CHECK(device.index < library.gpus, Io, "device ", to_string(device), ": there are ", library.gpus,
              " GPUs here");
  return at::Device(at::kCUDA, c10::DeviceIndex(device.index));
}

bool is_host_matrix(const at::Tensor& x) { return x.dim() == 2 && on_host(x) && x.numel() > 0; }
bool is_host_matrix(const at::Tensor& x, at::ScalarType type) { return is_host_matrix(x) && x.scalar_type() == type; }

at::ScalarType product_type(at::Device device) { return device.is_cpu() || f32_products ? at::kFloat : at::kBFloat16; }

std::string describe(at::Device device) {
  if (device.is_cpu()) return "cpu";
  char text[256] = "";
  const char* error = device_kernels().describe(device.index(), text, sizeof text);
  SWAGE_CHECK(error == nullptr, Unsupported, device.str(), ": ", error);
  return text;
}

const kernels::DeviceKernels& device_kernels() {
  const CudaLibrary& library = cuda_library();
  SWAGE_CHECK(library.kernels != nullptr, Internal,
              "a kernel for the GPU was asked for where there is none: ", library.refusal);
  return *library.kernels;
}

void synchronize(at::Device device) {
  if (device.is_cpu()) return;
  const c10::DeviceGuard on(device);
  const char* error = device_kernels().last_error();
  SWAGE_CHECK(error == nullptr, Internal, device.str(), ": ", error);
}

int64_t peak_device_bytes(at::Device device) {
  if (device.is_cpu()) return 0;
  return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).allocated_bytes[0].peak;
}

void release_device_memory(at::Device device) {
  if (!device.is_cpu()) c10::getDeviceAllocator(device.type())->emptyCache();
}

namespace detail {

Queue::Queue(at::Device device) : guard_(device) {
  if (device.is_cpu()) return;
  const c10::impl::VirtualGuardImpl impl(device.type());
  stream_ = impl.getStreamNativeHandle(impl.getStream(device));
}

void Queue::check(const char* error, const char* kernel) {
  SWAGE_CHECK(error == nullptr, Internal, kernel, " on the GPU: ", error);
}

void check_place(const at::Tensor& tensor, at::Device device, at::ScalarType type, const char* who) {
  SWAGE_CHECK(tensor.device() == device && tensor.scalar_type() == type && tensor.is_contiguous(), Internal, who,
              ": expected a contiguous tensor of ", type, " on ", device.str(), ", got ", tensor.scalar_type(), " on ",
              tensor.device().str(), tensor.is_contiguous() ? "" : ", not contiguous");
}

}  // namespace detail
}  // namespace swage::ops
