// How a linear sees what it reads.
#pragma once
#include <memory>
#include <optional>

#include "swage/model/activation_quantization.h"
#include "swage/model/block.h"

namespace swage::pipeline {

struct LinearInput {
  std::shared_ptr<const ops::Transform> transform = {};  // null: none
  std::optional<model::ActivationQuantization> quantization = {};

  // x [T, I] f32 -> multiplied, not quantized.
  at::Tensor transformed(const at::Tensor& x_TI) const { return transform ? transform->columns(x_TI) : x_TI; }
  // As it meets the weight; x itself where nothing changes.
  at::Tensor seen(const at::Tensor& x_TI) const {
    const at::Tensor out_TI = transformed(x_TI);
    return quantization ? model::fake_quantize(out_TI, *quantization) : out_TI;
  }
};

}  // namespace swage::pipeline
