#include "swage/model/mlp.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "swage/base/error.h"
#include "swage/ops/rows.h"
#include "swage/ops/rows_alone.h"

namespace swage::model {

using graph::Activation;

namespace {

void activate_limited_(at::Tensor& gate, const at::Tensor& up, const graph::Gating& gating) {
  if (gating.limit > 0) gate.clamp_max_(gating.limit);
  activate_(gate, gating.activation);
  gate.mul_((gating.limit > 0 ? up.clamp(-gating.limit, gating.limit) : up).add(gating.up_offset));
}

double number_of(const checkpoint::WeightSource& weights, const std::string& name) {
  const at::Tensor one = weights.load(name);
  SWAGE_CHECK(one.numel() == 1, CorruptData, name, ": a single number is expected, not ", one.numel());
  return one.item<double>();
}

}  // namespace

XieluForm load_xielu(const std::string& module, const checkpoint::WeightSource& weights) {
  const auto softplus = [](double x) { return std::log1p(std::exp(x)); };
  XieluForm out;
  out.beta = number_of(weights, module + ".beta");
  out.epsilon = number_of(weights, module + ".eps");
  out.alpha_p = softplus(number_of(weights, module + ".alpha_p"));
  out.alpha_n = out.beta + softplus(number_of(weights, module + ".alpha_n"));
  return out;
}

namespace {

void activate_all_(at::Tensor& x, Activation activation) {
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
    case Activation::QuickGelu:
      x.mul_(at::sigmoid(x.mul(1.702)));
      return;
    case Activation::Tanh:
      x.tanh_();
      return;
    case Activation::Xielu:
      throw Error(ErrorKind::Internal, "xIELU needs its numbers");
  }
}

void xielu_all_(at::Tensor& x, const XieluForm& form) {
  const at::Tensor above = x.mul(x).mul_(form.alpha_p), below = x.clamp_max(form.epsilon).expm1_().sub_(x);
  x.copy_(at::where(x.gt(0), above, below.mul_(form.alpha_n)).add_(x, form.beta));
}

}  // namespace

void activate_(at::Tensor& x, Activation activation) {
  ops::each_row(x, [activation](at::Tensor& rows) { activate_all_(rows, activation); });
}

void xielu_(at::Tensor& x, const XieluForm& form) {
  ops::each_row(x, [&form](at::Tensor& rows) { xielu_all_(rows, form); });
}

void activate_gated_(at::Tensor& gate, const at::Tensor& up, const graph::Gating& gating) {
  const Activation activation = gating.activation;
  if (gating.limit > 0 || gating.up_offset != 0) return activate_limited_(gate, up, gating);
  if (activation == Activation::Silu) return ops::silu_multiply_(gate, up);
  activate_(gate, activation);
  gate.mul_(up);
}

}  // namespace swage::model
