#include "swage/model/mlp.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include "swage/ops/rows.h"

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
  if (activation == Activation::Silu) return ops::silu_multiply_(gate, up);
  activate_(gate, activation);
  gate.mul_(up);
}

}  // namespace swage::model
