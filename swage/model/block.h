// A decoder block as a chain of stages, so that a pipeline can stop between them, look at what enters the linears of a
// stage, replace their weights, and go on: every GEMM of the forward runs once.
//
// T tokens of the batch, D hidden size, I input columns, O output rows.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "swage/graph/schedule.h"
#include "swage/model/activation_quantization.h"
#include "swage/ops/integer_linear.h"
#include "swage/ops/packed_linear.h"
#include "swage/ops/products.h"
#include "swage/ops/transform.h"

namespace swage::model {

// What several linears make of one input that they read, made by the first one that needs it. For one tensor only.
struct SharedInput {
  const ops::Transform* transform = nullptr;       // that they multiply it with; null: none
  at::Tensor seen_TI = {};                         // the product, if there is one
  std::optional<ops::IntegerInput> integers = {};  // of that
  std::optional<ops::PackedInput> packed = {};     // of that
};

// One linear layer of the model. The weight is float32 on the model's device or, where `integer_weight` or `packed` is
// set, its codes.
struct Linear {
  std::string name;           // module path in the checkpoint: "model.layers.0.self_attn.q_proj"
  int64_t rows = 0;           // O
  int64_t columns = 0;        // I
  at::Tensor weight_OI = {};  // undefined where one of the next two is set
  std::optional<ops::IntegerLinear> integer_weight = {};
  std::shared_ptr<const ops::PackedLinear> packed = {};           // as it is stored, of a model that only runs
  at::Tensor bias_O = {};                                         // undefined if there is none
  std::shared_ptr<const ops::Transform> input_transform = {};     // the input is multiplied with it first; null: none
  std::optional<ActivationQuantization> input_quantization = {};  // applied to the input
  std::shared_ptr<const ops::Transform> output_transform = {};  // what comes out, with the bias, is multiplied with it
  std::string stored_in = {};                                   // the checkpoint's tensor that holds the weight
  mutable ops::Narrow narrow = {};  // of weight_OI, on a GPU; made by the one thread that computes there
  // x [T, I] -> [T, O], f32. x may be of the type that products are made in, too.
  at::Tensor operator()(const at::Tensor& x_TI, SharedInput* shared = nullptr) const;
  // out [T, O] += (*this)(x), without a tensor in between.
  void add_to(at::Tensor& out_TO, const at::Tensor& x_TI) const;
};

// What several linears make of one input, in one pass over threads where all of them are `packed` alike.
std::vector<at::Tensor> outputs_of(const std::vector<const Linear*>& linears, const at::Tensor& x_TI,
                                   SharedInput& shared);

using graph::InputGroup, graph::Stage;

struct Batch;  // several sequences with what their tokens left behind, see kv_cache.h

// What attention computes with in one step, before any of it is quantized: queries and keys after rotation, and values.
// H heads, G key-value heads, E head size.
struct AttentionStates {
  at::Tensor query_HTE = {}, key_GTE = {}, value_GTE = {};
};

// What flows through a block for one sequence, or for a batch of several, or pieces of them. Owned by the caller.
struct Flow {
  at::Tensor hidden_TD = {};  // the residual stream: in at begin(), out after the last step(); changed in place
  at::Tensor input_TI = {};   // what the linears of the current stage read
  int input_value = 0;        // which value of the block's program that is
  std::vector<at::Tensor> values = {};          // of the block's program, those that later operations read
  int64_t position = 0;                         // of the first token
  int64_t source_rows = 0;                      // of an encoder-decoder model: rows that are the source's, the first
  const Batch* batch = nullptr;                 // the rows are those of its sequences; `position` is not read
  int64_t layer = 0;                            // of the batch's caches
  AttentionStates* attention_states = nullptr;  // if set, takes up those of the next step that makes such
  // Mixture of experts, set by the block: the MLP's input, chosen experts and their weights. Tokens of an expert.
  at::Tensor mlp_input_TD = {}, router_input_TD = {}, expert_ids_TK = {}, expert_weights_TK = {}, accumulated_TD = {};
  // Every expert sees every token (calibration); otherwise just the routed ones.
  bool all_tokens_to_experts = false;
  // The routing once more, sorted by expert, so that each expert's part is a slice: rows [R] and weights [R, 1].
  at::Tensor routed_rows = {}, routed_weights = {};
  std::vector<int64_t> routed_offsets = {};  // expert e: [routed_offsets[e], routed_offsets[e + 1])
  int input_expert = -1;  // the one expert whose rows alone input_TI holds; -1: input_TI holds all rows
  // Rows of input_TI that count for `expert`, int64, ascending; undefined: all of them (always so with
  // all_tokens_to_experts, and in an "expert e output" stage, where input_TI holds that expert's rows alone).
  at::Tensor rows_of_expert(int expert) const;
  // Rows of the sequence routed to `expert`, whatever input_TI holds.
  at::Tensor routed_rows_of(int expert) const;
};

// Calls are const and may run in several threads on different Flows.
class Block {
 public:
  virtual ~Block() = default;
  std::vector<Linear> linears;
  std::vector<Stage> stages;

  // Computes the input of stage 0 from flow.hidden_TD.
  virtual void begin(Flow& flow) const = 0;
  // Runs the linears of stage `s` on flow.input_TI and goes on to the input of stage s+1, or, after the last stage,
  // leaves the block's output in flow.hidden_TD.
  virtual void step(int s, Flow& flow) const = 0;

  // begin() and all steps.
  void forward(Flow& flow) const;

  // Of a block with a mixture of experts, else Error(Internal).
  // What expert `expert` makes of x [T, D], before it is weighted: [T, D].
  virtual at::Tensor expert_output(int expert, const at::Tensor& x_TD) const = 0;
  // Leaves the experts with these numbers, ascending, and renumbers them 0, 1, ...: in linears with their names, stages
  // and router.
  virtual void keep_experts(const std::vector<int64_t>& kept) = 0;
  // Routes a flow that is at the MLP's input once more: after keep_experts().
  virtual void route_again(Flow& flow) const = 0;
};

}  // namespace swage::model
