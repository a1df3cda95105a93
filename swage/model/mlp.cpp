#include "swage/model/mlp.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "swage/kernels/cuda/device_kernels.h"
#include "swage/model/row_kernels.h"
#include "swage/ops/device.h"

namespace swage::model {

using graph::Activation;

void activate_(at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::Relu:
      at::relu_(x);
      return;
    case Activation::Relu2:
      at::relu_(x).square_();
      return;
    case Activation::Sigmoid:
      at::sigmoid_(x);
      return;
    case Activation::Identity:
      return;
    case Activation::Silu:
      at::silu_(x);
      return;
    case Activation::Gelu:
      at::gelu_(x);
      return;
    case Activation::GeluTanh:
      at::gelu_(x, "tanh");
      return;
  }
}

void activate_gated_(at::Tensor& gate, const at::Tensor& up, Activation activation) {
  const bool fits_row_kernels =
      gate.is_cpu() && gate.scalar_type() == at::kFloat && gate.is_contiguous() && up.is_contiguous();
  if (activation == Activation::Silu && fits_row_kernels) {
    return rows::silu_multiply(gate.mutable_data_ptr<float>(), up.const_data_ptr<float>(), gate.numel());
  }
  const bool fits_device_kernels =
      !gate.is_cpu() && gate.scalar_type() == at::kFloat && gate.is_contiguous() && up.is_contiguous();
  if (activation == Activation::Silu && fits_device_kernels) {
    const at::Device device = gate.device();
    const char* who = "silu_multiply";
    return ops::run(who, ops::device_kernels().silu_multiply,
                    kernels::SiluMultiply{ops::mutable_data_on<float>(device, gate, who),
                                          ops::data_on<float>(device, up, who), gate.numel()},
                    device);
  }
  activate_(gate, activation);
  gate.mul_(up);
}

}  // namespace swage::model
