#include "swage/schedule/owl.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/eval/forward.h"
#include "swage/schedule/activations.h"
#include "swage/schedule/linear_input.h"
#include "swage/solvers/owl.h"

namespace swage::pipeline {
namespace {

using model::Block, model::Flow, modifiers::Sparsifier;

bool asks_for_owl(const Sparsifier& sparsifier) { return sparsifier.rules().owl_m > 0; }

// Sum over the sequences of the norms of the input's columns.
at::Tensor column_norms(const Activations& activations, const LinearInput& input) {
  const std::vector<Flow>& flows = activations.flows();
  std::vector<at::Tensor> norms(flows.size());
  eval::for_each_parallel(int64_t(flows.size()), [&](int64_t i) {
    norms[size_t(i)] = input.transformed(flows[size_t(i)].input_TI).square().sum(0).sqrt_();
    activations.release(size_t(i));
  });
  at::Tensor sum_I = at::zeros_like(norms[0]);
  for (const at::Tensor& norm_I : norms) sum_I.add_(norm_I);  // in their order, whoever made them
  return sum_I;
}

// Percent of outliers of each block, for one sparsifier: -1 where it prunes nothing.
class OwlPass {
 public:
  OwlPass(model::Model& model, const checkpoint::WeightSource& weights, const Context& context,
          const Sparsity& sparsity, const Sparsifier& by, const offload::Tiers& tiers)
      : model_(model),
        weights_(weights),
        context_(context),
        sparsity_(sparsity),
        by_(by),
        tiers_(tiers) {}

  std::vector<double> run(const at::Tensor& ids_NL) {
    model_.load_ends(weights_);
    Activations activations(model_, ids_NL, tiers_);
    model_.drop_ends();
    std::vector<double> out;
    for (int64_t b = 0; b < model_.blocks(); ++b) {
      context_.check_cancelled();
      out.push_back(run_block(b, activations));
      release_free_memory();
    }
    return out;
  }

 private:
  double run_block(int64_t b, Activations& activations) {
    if (b + 1 < model_.blocks()) weights_.prefetch(model_.tensors_of_block(b + 1));
    const std::unique_ptr<Block> block = model_.load_block(b, weights_);
    for (const model::Linear& linear : block->linears) activations.make_room(linear.columns);
    activations.advance([&](Flow& flow) { block->begin(flow); });
    std::vector<solvers::OwlLinear> layer;
    for (size_t s = 0; s < block->stages.size(); ++s) {
      at::Tensor norm_I;  // one input for the whole stage
      LinearInput measured;
      for (const model::InputGroup& group : block->stages[s].groups) {
        for (const int index : group.linears) {
          const model::Linear& linear = block->linears[size_t(index)];
          const Sparsity::Choice* choice = sparsity_.find(linear.name);
          if (choice == nullptr || choice->by != &by_) continue;
          if (!norm_I.defined() || measured.transform != linear.input_transform) {
            measured = {linear.input_transform};
            norm_I = column_norms(activations, measured);
          }
          layer.push_back({linear.weight_OI, norm_I});
        }
      }
      activations.advance([&](Flow& flow) { block->step(int(s), flow); });
    }
    return layer.empty() ? -1 : solvers::outlier_percent(layer, by_.rules().owl_m);
  }

  model::Model& model_;
  const checkpoint::WeightSource& weights_;
  const Context& context_;
  const Sparsity& sparsity_;
  const Sparsifier& by_;
  const offload::Tiers& tiers_;
};

void set_shares(const model::Model& model, const std::vector<double>& percents, const Sparsifier& by,
                Sparsity& sparsity) {
  std::vector<double> of_pruned;
  std::vector<int64_t> place(percents.size(), -1);
  for (size_t b = 0; b < percents.size(); ++b) {
    if (percents[b] < 0) continue;
    place[b] = int64_t(of_pruned.size());
    of_pruned.push_back(percents[b]);
  }
  SWAGE_CHECK(!of_pruned.empty(), InvalidArgument, by.name(),
              ": sparsity_profile owl: nothing in the layers of the model is pruned");
  const std::vector<double> shares = solvers::owl_shares(of_pruned, by.rules().pattern.sparsity, by.rules().owl_lambda);
  for (const model::ModuleInfo& module : model.modules()) {
    const auto found = sparsity.of_module.find(module.name);
    if (found == sparsity.of_module.end() || found->second.by != &by || module.block < 0) continue;
    found->second.pattern.sparsity = shares[size_t(place[size_t(module.block)])];
  }
}

}  // namespace

bool needs_owl(const Sparsity& sparsity) {
  return std::any_of(sparsity.of_module.begin(), sparsity.of_module.end(),
                     [](const auto& module) { return asks_for_owl(*module.second.by); });
}

void find_owl_shares(model::Model& model, const checkpoint::WeightSource& weights, const at::Tensor& ids_NL,
                     const Context& context, const offload::Tiers& tiers, Sparsity& sparsity) {
  std::vector<const Sparsifier*> all;
  for (const auto& [name, choice] : sparsity.of_module) {
    if (asks_for_owl(*choice.by) && std::find(all.begin(), all.end(), choice.by) == all.end()) all.push_back(choice.by);
  }
  for (const Sparsifier* by : all)
    set_shares(model, OwlPass(model, weights, context, sparsity, *by, tiers).run(ids_NL), *by, sparsity);
}

}  // namespace swage::pipeline
