#include "swage/schedule/block_rescaler.h"

#include <ATen/ops/ones_like.h>

#include <algorithm>
#include <optional>

#include "swage/schedule/parent_output.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Linear;

// The linears of the stage that the pair's producer feeds.
std::vector<Linear*> consumers_of(const model::SmoothingPair& pair, Block& block, const model::Stage& stage) {
  std::vector<Linear*> out;
  for (const model::InputGroup& group : stage.groups) {
    for (const int index : group.linears) {
      Linear& linear = block.linears[size_t(index)];
      if (std::find(pair.consumers.begin(), pair.consumers.end(), linear.name) != pair.consumers.end())
        out.push_back(&linear);
    }
  }
  return out;
}

// The statistics of inputs that were divided by s_I.
void divide(modifiers::RescaleTask& task, const at::Tensor& s_I) {
  for (at::Tensor* column_I : {&task.columns.low_I, &task.columns.high_I, &task.columns.mean_abs_I}) {
    if (column_I->defined()) *column_I = column_I->div(s_I);
  }
  if (task.statistics.gram_II.defined())
    task.statistics.gram_II = task.statistics.gram_II.div(s_I.unsqueeze(0)).div_(s_I.unsqueeze(1));
}

}  // namespace

void BlockRescaler::rescale(Block& block, int64_t b, const model::Stage& stage) {
  for (const Rescaling& rescaling : run_.rescalings.of_block[size_t(b)]) {
    const std::vector<Linear*> consumers = consumers_of(rescaling.pair, block, stage);
    if (consumers.empty()) continue;
    const auto timed = run_.clock.time("rescale");
    rescale(block, size_t(&stage - block.stages.data()), rescaling, consumers);
  }
}

void BlockRescaler::rescale(Block& block, size_t stage, const Rescaling& rescaling,
                            const std::vector<Linear*>& consumers) {
  const model::SmoothingPair& pair = rescaling.pair;
  const bool wants_mean = std::any_of(rescaling.by.begin(), rescaling.by.end(),
                                      [](const modifiers::Rescaler* by) { return by->needs_mean(); });
  modifiers::RescaleTask task{{}, inputs_.columns(wants_mean), {}, pair.run, pair.repeats, {}};
  const at::Tensor one_I = at::ones_like(task.columns.low_I);
  at::Tensor total_I = one_I, norm_I;
  std::optional<ParentOutput> parent;
  const bool wants_output = std::any_of(rescaling.by.begin(), rescaling.by.end(),
                                        [](const modifiers::Rescaler* by) { return by->outputs_tried() > 0; });
  if (wants_output && consumers.size() > 1) parent.emplace(block, stage, inputs_.activations());
  if (pair.norm) norm_I = run_.weights.load(pair.producer + ".weight");
  for (const modifiers::Rescaler* by : rescaling.by) {
    task.consumers.clear();
    for (const Linear* linear : consumers) {
      task.consumers.push_back(
          {linear->name, linear->weight_OI, stored_type(run_, linear->stored_in), run_.assignment.find(linear->name)});
    }
    std::string unused;  // all tokens count
    if (by->needs_gram() && !task.statistics.gram_II.defined())
      task.statistics = inputs_.statistics(consumers[0]->columns, -1, {}, unused);
    if (parent && by->outputs_tried() > 0) {
      task.output_error = [&](std::vector<at::Tensor> weights_OI) {  // which belong to inputs that were divided by
                                                                     // total_I; those at hand were not
        for (at::Tensor& w_OI : weights_OI) w_OI = w_OI.div(total_I);
        return parent->error(consumers, weights_OI);
      };
    }
    at::Tensor s_I = by->scales(task);
    task.output_error = {};
    if (pair.norm) {
      const at::ScalarType stored = checkpoint::scalar_type_of(run_.reader.find(pair.producer + ".weight")->dtype);
      norm_I = divide_norm(norm_I, stored, s_I, pair.offset).to(at::kFloat);
    }
    for (Linear* linear : consumers) linear->weight_OI = linear->weight_OI.mul(s_I);
    divide(task, s_I);
    total_I = total_I.mul(s_I);
  }
  inputs_.scale(one_I.div(total_I), pair.norm, task.statistics);
  divide_producer(block, pair, norm_I, scales_of_producer(total_I, pair));
  for (const std::string& name : pair.consumers) {
    const bool in_block = std::any_of(block.linears.begin(), block.linears.end(),
                                      [&](const Linear& linear) { return linear.name == name; });
    if (!in_block) put_rewritten(run_, name + ".weight", run_.weights.load(name + ".weight").mul(total_I));  // a router
  }
}

// `norm_I`: the new weight, if the producer is a norm.
void BlockRescaler::divide_producer(Block& block, const model::SmoothingPair& pair, const at::Tensor& norm_I,
                                    const at::Tensor& s_O) {
  if (pair.bias) put_rewritten(run_, pair.producer + ".bias", run_.weights.load(pair.producer + ".bias").div(s_O));
  if (pair.norm) return put_rewritten(run_, pair.producer + ".weight", norm_I);
  if (solver_.divide_waiting(pair.producer, s_O)) return;
  for (Linear& linear : block.linears) {
    if (linear.name == pair.producer) linear.weight_OI = linear.weight_OI.div(s_O.unsqueeze(1));
  }
}

}  // namespace swage::pipeline
