#include "swage/model/block.h"

#include <ATen/ops/empty.h>

#include "swage/base/error.h"

namespace swage::model {
namespace {

// The input as the linear's weight meets it, but for its quantization.
at::Tensor transformed_input(const Linear& linear, const at::Tensor& x_TI, SharedInput* shared) {
  if (shared != nullptr && shared->transform != linear.input_transform.get())
    *shared = {.transform = linear.input_transform.get()};
  if (!linear.input_transform) return x_TI;
  if (shared == nullptr) return linear.input_transform->columns(x_TI);
  if (!shared->seen_TI.defined()) shared->seen_TI = linear.input_transform->columns(x_TI);
  return shared->seen_TI;
}

at::Tensor quantized_input(const Linear& linear, const at::Tensor& x_TI) {
  return linear.input_quantization ? fake_quantize(x_TI, *linear.input_quantization) : x_TI;
}

void multiply(const Linear& linear, const at::Tensor& x_TI, SharedInput* shared, at::Tensor& out_TO, bool add) {
  const ops::IntegerLinear& weight = *linear.integer_weight;
  std::optional<ops::IntegerInput> own;
  std::optional<ops::IntegerInput>& input = shared == nullptr || linear.input_quantization ? own : shared->integers;
  if (!input || input->block != weight.block())
    input = ops::IntegerLinear::quantize(quantized_input(linear, x_TI).contiguous(), weight.block());
  weight.multiply(*input, out_TO, add);
}

// What the linear's packed weight reads; kept in `own` if others cannot share it.
const ops::PackedInput& packed_input(const Linear& linear, const at::Tensor& x_TI, SharedInput* shared,
                                     std::optional<ops::PackedInput>& own) {
  if (shared == nullptr || linear.input_quantization)
    return own.emplace(linear.packed->input(quantized_input(linear, x_TI)));
  if (!shared->packed || !linear.packed->reads(*shared->packed)) shared->packed = linear.packed->input(x_TI);
  return *shared->packed;
}

void multiply_packed(const Linear& linear, const at::Tensor& x_TI, SharedInput* shared, at::Tensor& out_TO, bool add) {
  std::optional<ops::PackedInput> own;
  linear.packed->multiply(packed_input(linear, x_TI, shared, own), out_TO, add);
}

// Whether products of the linear are those of its weight and the input as it is.
bool is_plain(const Linear& linear) {
  return linear.packed && !linear.input_transform && !linear.output_transform && !linear.input_quantization;
}

}  // namespace

std::vector<at::Tensor> outputs_of(const std::vector<const Linear*>& linears, const at::Tensor& x_TI,
                                   SharedInput& shared) {
  std::vector<at::Tensor> outs;
  std::vector<const ops::PackedLinear*> weights;
  if (is_plain(*linears[0])) transformed_input(*linears[0], x_TI, &shared);
  for (const Linear* linear : linears) {
    if (!is_plain(*linear)) break;
    if (!shared.packed || !linear->packed->reads(*shared.packed)) {
      if (!weights.empty()) break;
      shared.packed = linear->packed->input(x_TI);
    }
    weights.push_back(linear->packed.get());
    outs.push_back(at::empty({x_TI.size(0), linear->rows}, x_TI.options()));
  }
  if (weights.size() == linears.size()) {
    ops::multiply_together(weights, *shared.packed, outs, false);
    for (size_t i = 0; i < linears.size(); ++i)
      if (linears[i]->bias_O.defined()) outs[i].add_(linears[i]->bias_O);
    return outs;
  }
  outs.clear();
  for (const Linear* linear : linears) outs.push_back((*linear)(x_TI, &shared));
  return outs;
}

at::Tensor Linear::operator()(const at::Tensor& x_TI, SharedInput* shared) const {
  const at::Tensor seen_TI = transformed_input(*this, x_TI, shared);
  at::Tensor out_TO;
  if (packed || integer_weight) {
    out_TO = at::empty({x_TI.size(0), rows}, x_TI.options());
    (packed ? multiply_packed : multiply)(*this, seen_TI, shared, out_TO, false);
    if (bias_O.defined()) out_TO.add_(bias_O);
  } else {
    out_TO = ops::linear(quantized_input(*this, seen_TI), weight_OI, bias_O, narrow);
  }
  return output_transform ? output_transform->columns(out_TO) : out_TO;
}

void Linear::add_to(at::Tensor& out_TO, const at::Tensor& x_TI) const {
  if (output_transform) {
    out_TO.add_((*this)(x_TI));
    return;
  }
  const at::Tensor seen_TI = transformed_input(*this, x_TI, nullptr);
  if (packed || integer_weight) {
    (packed ? multiply_packed : multiply)(*this, seen_TI, nullptr, out_TO, true);
  } else {
    ops::add_linear(quantized_input(*this, seen_TI), weight_OI, narrow, out_TO);
  }
  if (bias_O.defined()) out_TO.add_(bias_O);
}

at::Tensor Flow::rows_of_expert(int expert) const {
  if (all_tokens_to_experts || input_expert >= 0) return {};
  return routed_rows_of(expert);
}

at::Tensor Flow::routed_rows_of(int expert) const {
  SWAGE_CHECK(expert >= 0 && expert + 1 < static_cast<int>(routed_offsets.size()), Internal, "expert ", expert,
              " of a flow that was routed to ", routed_offsets.size(), " offsets");
  const int64_t first = routed_offsets[expert], end = routed_offsets[expert + 1];
  return routed_rows.narrow(0, first, end - first);
}

void Block::forward(Flow& flow) const {
  begin(flow);
  for (size_t s = 0; s < stages.size(); ++s) step(static_cast<int>(s), flow);
}

}  // namespace swage::model
