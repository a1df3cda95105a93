#include <algorithm>

#include "swage/base/memory.h"
#include "swage/resolve/activation_scales.h"
#include "swage/schedule/action.h"
#include "swage/schedule/actions/forward_costs.h"
#include "swage/schedule/pass_costs.h"
#include "swage/schedule/pass_state.h"

namespace swage::pipeline::actions {
namespace {

using model::Flow, model::Linear;

// Reads the block's weights and computes what its first stage reads.
class EnterBlock : public PassAction {
 public:
  EnterBlock(std::string at, int64_t b) : PassAction(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override { cost_of_entering(costs, b_); }

  void run(PassState& state) const override {
    {
      const auto timed = state.run.clock.time("read weights");
      if (b_ + 1 < state.run.model.blocks())
        state.weights_of(b_ + 1).prefetch(state.model_of(b_ + 1).tensors_of_block(b_ + 1));
      state.block = state.model_of(b_).load_block(b_, state.weights_of(b_));
    }
    if (state.finished) restore(state);
    for (const Linear& linear : state.block->linears) state.activations.make_room(linear.columns);
    state.forward([&](Flow& flow) { state.block->begin(flow); });
    state.forward_float([&](FloatStream& stream) { stream.begin_block(state.model_of(b_), b_, state.weights_of(b_)); });
  }

 private:
  // Puts what an earlier run wrote in the place of the float weights.
  static void restore(PassState& state) {
    const Run& run = state.run;
    const auto timed = run.clock.time("read back");
    for (Linear& linear : state.block->linears) {
      if (run.assignment.find(linear.name) == nullptr) {
        if (run.sparsity.find(linear.name) != nullptr)
          linear.weight_OI = read_pruned(run, linear.name).to(linear.weight_OI.device(), at::kFloat);
        continue;
      }
      put_into(linear, read_module(run, linear.name));
      linear.input_quantization = read_input(run, linear.name);
    }
  }

  int64_t b_;
};

// Nothing is known yet of what the stage's linears read.
class EnterStage : public PassAction {
 public:
  EnterStage(std::string at, int64_t s) : PassAction(std::move(at)), s_(s) {}
  void cost(PassCosts& costs) const override { costs.enter_stage(); }
  void run(PassState& state) const override { state.inputs.begin(&state.block->stages[size_t(s_)]); }

 private:
  int64_t s_;
};

// Runs the stage's linears, and goes on to what those of the next stage read.
class Step : public PassAction {
 public:
  Step(std::string at, int64_t b, int64_t s) : PassAction(std::move(at)), b_(b), s_(s) {}

  void cost(PassCosts& costs) const override { cost_of_step(costs, b_, s_); }

  void run(PassState& state) const override {
    if (state.block->stages[size_t(s_)].attends && state.run.assignment.kv_cache && !state.finished)
      step_and_measure_heads(state);
    else
      state.forward([&](Flow& flow) { state.block->step(int(s_), flow); });
    state.forward_float([&](FloatStream& stream) { stream.step(int(s_)); });
  }

 private:
  // Attention, whose queries, keys and values are measured on the way.
  void step_and_measure_heads(PassState& state) const {
    const Run& run = state.run;
    const size_t flows = state.activations.flows().size();
    HeadObserver keys(*run.assignment.kv_cache, flows), values(*run.assignment.kv_cache, flows);
    std::optional<HeadObserver> queries;
    if (run.assignment.attention) queries.emplace(*run.assignment.attention->input_activations, flows);
    const Flow* first = state.activations.flows().data();
    state.forward([&](Flow& flow) {
      model::AttentionStates states;
      flow.attention_states = &states;
      state.block->step(int(s_), flow);
      flow.attention_states = nullptr;
      const size_t index = size_t(&flow - first);
      keys.observe(index, states.key_GTE);
      values.observe(index, states.value_GTE);
      if (queries) queries->observe(index, states.query_HTE);
    });
    const graph::AttentionInfo attention = *run.model.attention(b_);
    const at::ScalarType stored = stored_type(run, attention.keys_tensor);
    keys.put(run.writer, attention.name + ".k_scale", stored);
    values.put(run.writer, attention.name + ".v_scale", stored);
    if (queries) queries->put(run.writer, attention.name + ".q_scale", stored);
  }

  int64_t b_, s_;
};

// Writes what waited for the end of the block, and gives its weights back.
class FinishBlock : public PassAction {
 public:
  FinishBlock(std::string at, int64_t b) : PassAction(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override {
    if (costs.in.keeps_activations && !costs.in.chain.rescalers.empty())
      costs.work().written_bytes += uint64_t(kFloat * costs.tokens * costs.hidden);
    cost_of_leaving(costs);
  }

  void run(PassState& state) const override {
    const Run& run = state.run;
    if (state.float_stream) state.float_stream->end_block();
    if (!state.finished) state.solver.finish(*state.block);
    if (!state.finished && state.experts && run.model.mixture(b_) != nullptr) state.experts->finish(b_);
    drop_block(run.reader, run.experts != nullptr ? run.experts->source_model() : run.model, b_);
    state.block.reset();
    release_free_memory();
    if (state.finished || !state.saves_activations()) return;
    const auto timed = run.clock.time("save activations");
    state.activations.save(state.saved_activations(b_), b_);
  }

 private:
  int64_t b_;
};

}  // namespace

ActionPtr enter_block(std::string at, int64_t b) { return std::make_unique<EnterBlock>(std::move(at), b); }
ActionPtr enter_stage(std::string at, int64_t s) { return std::make_unique<EnterStage>(std::move(at), s); }
ActionPtr step(std::string at, int64_t b, int64_t s) { return std::make_unique<Step>(std::move(at), b, s); }
ActionPtr finish_block(std::string at, int64_t b) { return std::make_unique<FinishBlock>(std::move(at), b); }

}  // namespace swage::pipeline::actions
