#include "swage/model/block.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "swage/base/error.h"

namespace swage::model {
namespace {

at::Tensor quantized_input(const Linear& linear, const at::Tensor& x_TI) {
  return linear.input_quantization ? fake_quantize(x_TI, *linear.input_quantization) : x_TI;
}

void multiply(const Linear& linear, const at::Tensor& x_TI, SharedInput* shared, at::Tensor& out_TO, bool add) {
  const ops::IntegerLinear& weight = *linear.integer_weight;
  SharedInput own;
  SharedInput& input = shared == nullptr || linear.input_quantization ? own : *shared;
  if (!input || input->block != weight.block()) input = ops::IntegerLinear::quantize(quantized_input(linear, x_TI).contiguous(), weight.block());
  weight.multiply(*input, out_TO, add);
}

}  // namespace

at::Tensor Linear::operator()(const at::Tensor& x_TI, SharedInput* shared) const {
  if (!integer_weight) return at::linear(quantized_input(*this, x_TI), weight_OI, bias_O);
  at::Tensor out_TO = at::empty({x_TI.size(0), rows}, x_TI.options());
  multiply(*this, x_TI, shared, out_TO, false);
  if (bias_O.defined()) out_TO.add_(bias_O);
  return out_TO;
}

void Linear::add_to(at::Tensor& out_TO, const at::Tensor& x_TI) const {
  if (integer_weight) {
    multiply(*this, x_TI, nullptr, out_TO, true);
  } else {
    out_TO.addmm_(quantized_input(*this, x_TI), weight_OI.t());
  }
  if (bias_O.defined()) out_TO.add_(bias_O);
}

at::Tensor Flow::rows_of_expert(int expert) const {
  if (all_tokens_to_experts || input_expert >= 0) return {};
  return routed_rows_of(expert);
}

at::Tensor Flow::routed_rows_of(int expert) const {
  SWAGE_CHECK(expert >= 0 && expert + 1 < static_cast<int>(routed_offsets.size()), Internal, "expert ", expert, " of a flow that was routed to ",
              routed_offsets.size(), " offsets");
  const int64_t first = routed_offsets[expert], end = routed_offsets[expert + 1];
  return routed_rows.narrow(0, first, end - first);
}

void Block::forward(Flow& flow) const {
  begin(flow);
  for (size_t s = 0; s < stages.size(); ++s) step(static_cast<int>(s), flow);
}

}  // namespace swage::model
