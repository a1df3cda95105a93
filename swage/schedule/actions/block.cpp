#include <algorithm>

#include "swage/base/memory.h"
#include "swage/resolve/activation_scales.h"
#include "swage/schedule/action.h"
#include "swage/schedule/pass_costs.h"
#include "swage/schedule/pass_state.h"

namespace swage::pipeline::actions {
namespace {

using model::BlockShape, model::Flow, model::Linear, model::ModuleInfo, model::Stage;

constexpr double kLoadPasses = 3;      // over a block's float32 weights while they are read and converted
constexpr double kNormTensors = 2;     // of a row, while its norm is computed
constexpr double kScoresAtOnce = 256;  // rows of attention's scores, at once in a thread

// Reads the block's weights and computes what its first stage reads.
class EnterBlock : public Action {
 public:
  EnterBlock(std::string at, int64_t b) : Action(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override {
    const double parameters = double(costs.whole(b_).parameters());
    const double each = kFloat + (costs.in.on_device ? kCode16 : 0);  // on a GPU also as products are made of them
    costs.ledger.hold(Buffer::Weights, each * parameters);
    costs.ledger.hold(Buffer::FloatWeights, costs.corrects() ? kFloat * parameters : 0);
    costs.enter_block(b_);
    costs.ledger.moment({{"forward pass", costs.forward_threads() * kNormTensors * kFloat *
                                              double(costs.in.row_tokens) * costs.hidden}});
    costs.work().moved_bytes += costs.streams() * kLoadPasses * kFloat * parameters;
    costs.work().read_bytes += uint64_t(costs.streams() * costs.in.bytes_per_weight * parameters);
  }

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
class EnterStage : public Action {
 public:
  EnterStage(std::string at, int64_t s) : Action(std::move(at)), s_(s) {}
  void cost(PassCosts& costs) const override { costs.enter_stage(); }
  void run(PassState& state) const override { state.inputs.begin(&state.block->stages[size_t(s_)]); }

 private:
  int64_t s_;
};

// Runs the stage's linears, and goes on to what those of the next stage read.
class Step : public Action {
 public:
  Step(std::string at, int64_t b, int64_t s) : Action(std::move(at)), b_(b), s_(s) {}

  void cost(PassCosts& costs) const override {
    const BlockShape& block = costs.block(b_);
    const Stage& stage = block.stages[size_t(s_)];
    double largest = 0;
    for (const model::InputGroup& group : stage.groups) largest = std::max(largest, cost_of_group(costs, group));
    double a_thread = double(costs.in.row_tokens) * largest;
    if (stage.attends) a_thread += cost_of_attention(costs);
    const bool routes_next = size_t(s_) + 1 < block.stages.size() && block.stages[size_t(s_) + 1].routes;
    for (const ModuleInfo& router : block.routers) {
      if (routes_next) costs.work().linear_flops += 2 * costs.streams() * costs.tokens * double(router.parameters());
    }
    costs.ledger.moment({{"forward pass", costs.forward_threads() * a_thread}});
  }

  void run(PassState& state) const override {
    if (state.block->stages[size_t(s_)].attends && state.run.assignment.kv_cache && !state.finished)
      step_and_measure_heads(state);
    else
      state.forward([&](Flow& flow) { state.block->step(int(s_), flow); });
    state.forward_float([&](FloatStream& stream) { stream.step(int(s_)); });
  }

 private:
  // Bytes of a token in a thread; adds the work.
  double cost_of_group(PassCosts& costs, const model::InputGroup& group) const {
    const BlockShape& block = costs.block(b_);
    const double share = block.stages[size_t(s_)].expert >= 0 ? double(block.top_k) / double(block.experts) : 1;
    double rows = 0, columns = 0, turned = 0;
    for (const int index : group.linears) {
      const ModuleInfo& linear = block.linears[size_t(index)];
      rows += double(linear.rows) * (costs.in.rotated_outputs.contains(linear.name) ? 2 : 1);
      if (costs.in.rotated_inputs.contains(linear.name)) turned = kFloat * double(linear.columns);
      columns = double(linear.columns);
      const double flops = 2 * costs.tokens * share * double(linear.parameters());
      (costs.kept_as_integers(linear) ? costs.work().integer_flops : costs.work().linear_flops) += flops;
      if (costs.corrects()) costs.work().linear_flops += flops;
    }
    costs.work().moved_bytes += costs.streams() * kForwardPasses * kFloat * costs.tokens * (rows + columns);
    return kFloat * rows + kCode16 * columns + turned;
  }

  double cost_of_attention(PassCosts& costs) const {
    const BlockShape& block = costs.block(b_);
    const double length = double(costs.in.row_tokens), query = double(block.query_size),
                 keys = block.window > 0 ? std::min(length, double(block.window)) : length;
    costs.work().attention_flops += costs.streams() * 4 * costs.tokens * (keys / 2 + kScoresAtOnce / 4) * query;
    return kFloat * (length * query + kScoresAtOnce * length);
  }

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
    const at::ScalarType stored = stored_type(run, attention.keys);
    keys.put(run.writer, attention.name + ".k_scale", stored);
    values.put(run.writer, attention.name + ".v_scale", stored);
    if (queries) queries->put(run.writer, attention.name + ".q_scale", stored);
  }

  int64_t b_, s_;
};

// Writes what waited for the end of the block, and gives its weights back.
class FinishBlock : public Action {
 public:
  FinishBlock(std::string at, int64_t b) : Action(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override {
    if (costs.in.keeps_activations && !costs.in.chain.rescalers.empty())
      costs.work().written_bytes += uint64_t(kFloat * costs.tokens * costs.hidden);
    for (const Buffer buffer : {Buffer::Weights, Buffer::FloatWeights, Buffer::SolvedWeights})
      costs.ledger.hold(buffer, 0);
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
