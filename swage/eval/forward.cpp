#include "swage/eval/forward.h"

#include <ATen/ops/cat.h>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/ops/parallel_tasks.h"

namespace swage::eval {

void for_each_parallel(int64_t count, const std::function<void(int64_t)>& work) {
  ops::parallel_tasks(count, [] { return 0; }, [&](int64_t i, int) { work(i); });
}

void for_each_parallel(at::Device device, int64_t count, const std::function<void(int64_t)>& work) {
  if (device.is_cpu()) return for_each_parallel(count, work);
  for (int64_t i = 0; i < count; ++i) work(i);
}

std::vector<model::Flow> embed_rows(const model::Model& model, const at::Tensor& ids_NL) {
  std::vector<model::Flow> flows(size_t(ids_NL.size(0)));
  for_each_parallel(ids_NL.size(0), [&](int64_t i) { flows[size_t(i)].hidden_TD = model.embed(ids_NL[i], 0); });
  return flows;
}

namespace {

// The first token of a row that counts, and how many do.
std::pair<int64_t, int64_t> counted(const at::Tensor& mask_T, int64_t row) {
  const at::Tensor places = mask_T.nonzero().squeeze(1);
  SWAGE_CHECK(places.numel() > 0, InvalidArgument, "attention_mask: row ", row, " is all padding");
  const int64_t first = places[0].item<int64_t>(), count = places.numel();
  SWAGE_CHECK(places[count - 1].item<int64_t>() - first == count - 1, Unsupported, "attention_mask: row ", row,
              " has masked tokens between others; only its beginning or its end may be padded");
  return {first, count};
}

void check_inputs(const graph::ModelProgram& model, const Inputs& inputs) {
  SWAGE_CHECK(!inputs.types_NT.defined() || model.token_types, Unsupported,
              "token_type_ids: the model has no token types");
  SWAGE_CHECK(!inputs.mask_NT.defined() || model.predicts != graph::Predicts::Next || model.target, Unsupported,
              "attention_mask: rows of causal models are not padded; leave it out");
  SWAGE_CHECK(
      inputs.target_ids_NU.defined() == model.target.has_value(), InvalidArgument, "decoder_input_ids ",
      model.target ? "are missing: the model is an encoder-decoder" : "are not taken by a model without a decoder");
}

}  // namespace

Unpadded embed_row(const model::Model& model, const Inputs& inputs, int64_t row) {
  check_inputs(model.program(), inputs);
  const at::Tensor types_T = inputs.types_NT.defined() ? inputs.types_NT[row] : at::Tensor();
  Unpadded out;
  // Positions count from the row's beginning, so that padding is embedded and then left out.
  at::Tensor hidden_TD = model.embed(inputs.ids_NT[row], 0, types_T);
  if (inputs.mask_NT.defined()) {
    const auto [first, count] = counted(inputs.mask_NT[row], row);
    hidden_TD = hidden_TD.narrow(0, first, count).clone();
    out.first = out.flow.position = first;
  }
  if (!model.program().target) {
    out.flow.hidden_TD = hidden_TD;
    return out;
  }
  out.flow.position = 0;  // distances are all that counts there
  out.flow.source_rows = hidden_TD.size(0);
  out.flow.hidden_TD = at::cat({hidden_TD, model.embed_target(inputs.target_ids_NU[row])});
  return out;
}

void run_blocks(model::Model& model, const checkpoint::WeightSource& weights, std::vector<model::Flow>& flows,
                const Context& context, const std::function<void(int64_t)>& done) {
  for (int64_t b = 0; b < model.blocks(); ++b) {
    context.check_cancelled();
    if (b + 1 < model.blocks()) weights.prefetch(model.tensors_of_block(b + 1));
    auto block = model.load_block(b, weights);
    for_each_parallel(flows[0].hidden_TD.device(), int64_t(flows.size()),
                      [&](int64_t i) { block->forward(flows[size_t(i)]); });
    block.reset();
    release_free_memory();
    done(b);
  }
}

}  // namespace swage::eval
