// The run's device as ATen's, and what the solvers and the model need to compute on it.
#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>

#include <string>

#include "swage/base/context.h"

namespace swage::kernels {
struct DeviceKernels;
}

namespace swage::ops {

// Auto becomes the first GPU that can be used, else the CPU. Opens libtorch's CUDA half and swage's kernels
// (ops/cuda_library.h) where a GPU is found. Error(Io) for a GPU that cannot be used, saying why and what to do.
at::Device to_torch(Device device);

// What the matrix products of a model are made in: f32 on the CPU; on a GPU bf16 with f32 sums, or f32 if the device
// that to_torch() was given last says so.
at::ScalarType product_type(at::Device device);

inline bool is_host(at::Device device) { return device.is_cpu(); }
inline bool on_host(const at::Tensor& x) { return is_host(x.device()); }
// A matrix with elements that functions of the host may read: in its memory; of the type, where one is given.
bool is_host_matrix(const at::Tensor& x);
bool is_host_matrix(const at::Tensor& x, at::ScalarType type);

// "NVIDIA H100 80GB HBM3, compute capability 9.0, driver for CUDA 13.0"; "cpu".
std::string describe(at::Device device);

// Of the GPU that to_torch() gave; Error(Internal) without one.
const kernels::DeviceKernels& device_kernels();

// Waits for what was queued on it and throws what went wrong with that; nothing to do on a CPU.
void synchronize(at::Device device);
// The most that tensors have taken of its memory so far; 0 on a CPU.
int64_t peak_device_bytes(at::Device device);
// Gives the driver back what no tensor holds.
void release_device_memory(at::Device device);

namespace detail {

class Queue {
 public:
  explicit Queue(at::Device device);
  void* stream() const { return stream_; }
  static void check(const char* error, const char* kernel);

 private:
  c10::OptionalDeviceGuard guard_;
  void* stream_ = nullptr;
};

void check_place(const at::Tensor& tensor, at::Device device, at::ScalarType type, const char* who);

}  // namespace detail

// Pointers for kernels, checked: a device's memory never reaches a kernel of the CPU, nor the other way round.
// Error(Internal) for a tensor of another device or type, and for one that is not contiguous.
template <class T>
const T* data_on(at::Device device, const at::Tensor& tensor, const char* who) {
  detail::check_place(tensor, device, c10::CppTypeToScalarType<T>::value, who);
  return tensor.const_data_ptr<T>();
}
template <class T>
T* mutable_data_on(at::Device device, const at::Tensor& tensor, const char* who) {
  detail::check_place(tensor, device, c10::CppTypeToScalarType<T>::value, who);
  return tensor.mutable_data_ptr<T>();
}

// Queues a kernel of the table: run("gptq_block", kernels.gptq_block, arguments, device).
template <class Arguments>
void run(const char* name, const char* (*kernel)(const Arguments&, void*), const Arguments& arguments,
         at::Device device) {
  const detail::Queue queue(device);
  detail::Queue::check(kernel(arguments, queue.stream()), name);
}

}  // namespace swage::ops
