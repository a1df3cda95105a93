#include "swage/ops/rows.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/aminmax.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <initializer_list>

#include "swage/kernels/cuda/device_kernels.h"
#include "swage/kernels/kernels.h"
#include "swage/ops/device.h"

namespace swage::ops {
namespace {

// Whether kernels take a tensor's memory as it is. The others of a call must be of its device and type.
bool fits_kernels(const at::Tensor& x) { return x.scalar_type() == at::kFloat && x.is_contiguous(); }

// The kernel of the device where the tensors are.
template <class Arguments>
void run_where(at::Device device, const char* name, void (*kernels::KernelTable::*on_cpu)(const Arguments&),
               const char* (*kernels::DeviceKernels::*on_device)(const Arguments&, void*), const Arguments& arguments) {
  if (device.is_cpu())
    (kernels::fast_kernels().*on_cpu)(arguments);
  else
    run(name, device_kernels().*on_device, arguments, device);
}

void rms_norm_to(const at::Tensor& x, const at::Tensor& weight, double epsilon, const at::Tensor& out) {
  const at::Device device = x.device();
  const char* who = "rms_norm";
  const int64_t size = weight.numel();
  const kernels::RmsNormRows rows{.x = data_on<float>(device, x, who),
                                  .weight = data_on<float>(device, weight, who),
                                  .rows = x.numel() / size,
                                  .size = size,
                                  .epsilon = static_cast<float>(epsilon),
                                  .out = mutable_data_on<float>(device, out, who)};
  run_where(device, who, &kernels::KernelTable::rms_norm, &kernels::DeviceKernels::rms_norm, rows);
}

// first and second turn together.
void turn_(at::Tensor first, at::Tensor second, const at::Tensor& cos_TF, const at::Tensor& sin_TF) {
  const at::Tensor cosine = cos_TF.unsqueeze(1), sine = sin_TF.unsqueeze(1);
  const at::Tensor turned = second * cosine + first * sine;
  first.mul_(cosine).sub_(second * sine);
  second.copy_(turned);
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (!fits_kernels(x)) return at::rms_norm(x, weight.sizes(), weight, epsilon);
  at::Tensor out = at::empty_like(x);
  rms_norm_to(x, weight, epsilon, out);
  return out;
}

void rms_norm_(at::Tensor& x, const at::Tensor& weight, double epsilon) {
  if (fits_kernels(x))
    rms_norm_to(x, weight, epsilon, x);
  else
    x.copy_(at::rms_norm(x, weight.sizes(), weight, epsilon));
}

void rotate_halves_(at::Tensor& x_THR, const at::Tensor& cos_TF, const at::Tensor& sin_TF) {
  const int64_t half = x_THR.size(2) / 2;
  if (!fits_kernels(x_THR)) return turn_(x_THR.narrow(-1, 0, half), x_THR.narrow(-1, half, half), cos_TF, sin_TF);
  const at::Device device = x_THR.device();
  const char* who = "rotate_heads";
  const kernels::RotateHeads heads{mutable_data_on<float>(device, x_THR, who),
                                   data_on<float>(device, cos_TF, who),
                                   data_on<float>(device, sin_TF, who),
                                   x_THR.size(0),
                                   x_THR.size(1),
                                   half};
  run_where(device, who, &kernels::KernelTable::rotate_heads, &kernels::DeviceKernels::rotate_heads, heads);
}

void rotate_pairs_(at::Tensor& x_THR, const at::Tensor& cos_TF, const at::Tensor& sin_TF) {
  const at::Tensor pairs = x_THR.unflatten(-1, {-1, 2});
  turn_(pairs.select(-1, 0), pairs.select(-1, 1), cos_TF, sin_TF);
}

void silu_each_(at::Tensor& x) {
  if (!x.is_cpu() || !fits_kernels(x)) {
    at::silu_(x);
    return;
  }
  float* data = x.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), 1 << 14, [data](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) data[i] *= 1.f / (1.f + std::exp(-data[i]));
  });
}

void silu_multiply_(at::Tensor& gate, const at::Tensor& up) {
  if (!fits_kernels(gate) || !up.is_contiguous()) {
    at::silu_(gate).mul_(up);
    return;
  }
  const at::Device device = gate.device();
  const char* who = "silu_multiply";
  const kernels::SiluMultiply values{mutable_data_on<float>(device, gate, who), data_on<float>(device, up, who),
                                     gate.numel()};
  run_where(device, who, &kernels::KernelTable::silu_multiply, &kernels::DeviceKernels::silu_multiply, values);
}

ColumnRanges column_ranges(const at::Tensor& x_TI, bool sum_abs) {
  if (!x_TI.is_cpu()) {
    const auto [low_I, high_I] = at::aminmax(x_TI, 0);
    return {low_I.to(at::kFloat), high_I.to(at::kFloat),
            sum_abs ? x_TI.to(at::kFloat).abs_().sum(0, false, at::kDouble) : at::Tensor()};
  }
  const at::Tensor x = x_TI.contiguous(), first_I = x.select(0, 0);
  ColumnRanges out{first_I.clone(), first_I.clone(), sum_abs ? at::zeros(first_I.sizes(), at::kDouble) : at::Tensor()};
  kernels::fast_kernels().column_ranges({x.const_data_ptr<float>(), x.size(0), x.size(1),
                                         out.low_I.mutable_data_ptr<float>(), out.high_I.mutable_data_ptr<float>(),
                                         sum_abs ? out.sum_abs_I.mutable_data_ptr<double>() : nullptr});
  return out;
}

}  // namespace swage::ops
