#include <algorithm>

#include "swage/schedule/action.h"
#include "swage/schedule/block_rescaler.h"
#include "swage/schedule/parent_output.h"
#include "swage/schedule/pass_costs.h"
#include "swage/schedule/pass_state.h"
#include "swage/solvers/target.h"

namespace swage::pipeline::actions {
namespace {

using model::BlockShape, model::InputGroup, model::ModuleInfo, modifiers::LinearShape;

constexpr int kRidgesTried = 6;                   // solvers/target
constexpr double kSolvedGroupBytes = kFloat + 1;  // a scale and a zero point, beside codes of a byte

// An action on input group g of stage s in layer b.
class OnGroup : public PassAction {
 public:
  OnGroup(std::string at, int64_t b, int64_t s, int64_t g) : PassAction(std::move(at)), b_(b), s_(s), g_(g) {}
  bool solves() const override { return true; }

 protected:
  const model::Stage& stage(const PassCosts& costs) const { return costs.block(b_).stages[size_t(s_)]; }
  const InputGroup& group(const PassCosts& costs) const { return stage(costs).groups[size_t(g_)]; }
  const InputGroup& group(const PassState& state) const { return state.block->stages[size_t(s_)].groups[size_t(g_)]; }
  // Those of the group that pass, by index.
  template <class Passes>
  const ModuleInfo* first_that(const PassCosts& costs, const Passes& passes) const {
    for (const int index : group(costs).linears) {
      const ModuleInfo& linear = costs.block(b_).linears[size_t(index)];
      if (passes(linear.name)) return &linear;
    }
    return nullptr;
  }

  int64_t b_, s_, g_;
};

// Divides what the linears of a stage read, and multiplies their columns, as the recipe's rescalers find best.
class Rescale : public PassAction {
 public:
  Rescale(std::string at, int64_t b, int64_t s) : PassAction(std::move(at)), b_(b), s_(s) {}
  bool solves() const override { return true; }

  // An upper bound: as if all linears of the stage belonged to one pair.
  void cost(PassCosts& costs) const override {
    std::vector<int> all;
    for (const InputGroup& group : costs.block(b_).stages[size_t(s_)].groups)
      all.insert(all.end(), group.linears.begin(), group.linears.end());
    const std::vector<LinearShape> linears = costs.quantized(b_, all);
    if (linears.empty()) return;
    const std::vector<const modifiers::Rescaler*>& rescalers = costs.in.chain.rescalers;
    const bool needs_gram =
        std::any_of(rescalers.begin(), rescalers.end(), [](const auto* by) { return by->needs_gram(); });
    if (needs_gram) costs.measure(double(linears[0].columns), -1, 0);
    double scratch = 0, small = 0, outputs = 0;
    for (const modifiers::Rescaler* by : rescalers) {
      const modifiers::Cost cost = by->cost(linears, costs.setting());
      costs.add_work(cost);
      scratch = std::max(scratch, double(cost.scratch_bytes));
      small = std::max(small, double(cost.small_bytes));
      outputs = std::max(outputs, double(by->outputs_tried()));
    }
    costs.ledger.moment({{"solver", scratch, false}});
    costs.leave_small(small);
    costs.ledger.moment({{"Gram matrices", costs.ledger.held(Buffer::Gram)}});  // divided by the scales into another
    if (linears.size() > 1 && outputs > 0) cost_of_parents(costs, linears, outputs);
  }

  void run(PassState& state) const override {
    BlockRescaler(state.run, state.inputs, state.solver).rescale(*state.block, b_, state.block->stages[size_t(s_)]);
  }

 private:
  // The module above the linears, run for every candidate (schedule/parent_output): its outputs, the weights tried, and
  // what a row takes in each thread.
  void cost_of_parents(PassCosts& costs, const std::vector<LinearShape>& linears, double outputs_tried) const {
    const BlockShape& block = costs.block(b_);
    const modifiers::GroupSize size = modifiers::size_of(linears);
    const double length = double(costs.in.row_tokens),
                 rows = std::min(double(costs.in.rows), std::max(1.0, double(ParentOutput::kTokens) / length));
    double widest = 0, parameters = 0;
    for (size_t i = size_t(s_); i < block.stages.size() && (i == size_t(s_) || !block.stages[i - 1].adds); ++i) {
      for (const InputGroup& group : block.stages[i].groups) {
        double outputs = 0;
        for (const int index : group.linears) {
          const ModuleInfo& linear = block.linears[size_t(index)];
          outputs += double(linear.rows) + double(linear.columns);
          parameters += double(linear.parameters());
        }
        widest = std::max(widest, outputs);
      }
    }
    costs.work().solve_flops += (outputs_tried + 1) * 2 * rows * length * parameters;
    const double a_row = kFloat * length * (2 * costs.hidden + 2 * widest);
    const double tried = kFloat * 2 * size.all + costs.in.threads * 3 * kFloat * size.largest;
    costs.ledger.moment({{"outputs of modules", kFloat * rows * length * costs.hidden},
                         {"forward pass", costs.in.threads * a_row},
                         {"solver", tried, false}});
  }

  int64_t b_, s_;
};

// Takes weights out of those linears of a group that the recipe prunes.
class Prune : public OnGroup {
 public:
  using OnGroup::OnGroup;

  void cost(PassCosts& costs) const override {
    const std::vector<LinearShape> linears = costs.pruned(b_, group(costs).linears);
    const auto is_pruned = [&](const std::string& name) { return costs.in.sparsity.find(name) != nullptr; };
    const modifiers::Sparsifier& by = *costs.in.sparsity.find(first_that(costs, is_pruned)->name)->by;
    if (by.needs_calibration()) costs.measure(double(linears[0].columns), group(costs).expert, 0);
    costs.solve(by.cost(linears, costs.setting()), by.name());
  }

  void run(PassState& state) const override { state.solver.prune(state.linears_of(group(state)), group(state).expert); }
};

// Quantizes those linears of a group that the recipe quantizes; the rest of the pass computes with the outcome.
class Quantize : public OnGroup {
 public:
  using OnGroup::OnGroup;

  void cost(PassCosts& costs) const override {
    const std::vector<int>& indices = group(costs).linears;
    const std::vector<LinearShape> linears = costs.quantized(b_, indices);
    const auto is_quantized = [&](const std::string& name) { return costs.in.assignment.find(name) != nullptr; };
    const ModuleInfo& first = *first_that(costs, is_quantized);
    const modifiers::Quantizer& by = costs.in.assignment.quantizer_of(first.name);
    const bool sees_other = costs.in.assignment.find(first.name)->input_activations.has_value() ||
                            costs.in.rotated_inputs.contains(first.name);
    double corrected = 0;
    if (corrects(costs, by))
      corrected = cost_of_correcting(costs, linears, by, sees_other);
    else if (by.needs_calibration())
      costs.measure(double(first.columns), group(costs).expert,
                    sees_other ? costs.copies_of_inputs(double(first.columns)) : 0);
    costs.solve(by.cost(linears, costs.setting()), by.name(), corrected);
    cost_of_putting(costs);
  }

  void run(PassState& state) const override {
    state.solver.quantize(state.linears_of(group(state)), group(state).expert);
  }

 private:
  bool corrects(const PassCosts& costs, const modifiers::Quantizer& by) const {
    const auto is_pruned = [&](const std::string& name) { return costs.in.sparsity.find(name) != nullptr; };
    return by.needs_calibration() && by.target() != modifiers::Target::Weights &&
           first_that(costs, is_pruned) == nullptr && !(costs.in.moe_routed && group(costs).expert >= 0);
  }

  // Sums over both streams, and the solutions for each ridge (solvers/target). Returns the bytes of the corrected
  // weights.
  double cost_of_correcting(PassCosts& costs, const std::vector<LinearShape>& linears, const modifiers::Quantizer& by,
                            bool sees_other) const {
    const bool residual = stage(costs).into_residual && by.target() == modifiers::Target::Residual;
    const modifiers::GroupSize size = modifiers::size_of(linears);
    const double n = size.columns, hidden = costs.hidden;
    const double sums = 2 * (2 * kDouble * square(n) + (residual ? kDouble * hidden * n : 0));
    const double at_once =
        std::min(double(FloatStream::kMomentsAtOnce), double(costs.in.rows)) * double(costs.in.row_tokens);
    const double copied = kFloat * at_once * ((sees_other ? 4 : 3) * n + (residual ? 2 * hidden : 0));
    costs.ledger.hold(Buffer::Gram, 0);
    costs.ledger.moment(
        {{"Gram matrices", sums + gram_scratch_bytes(n, at_once, false)}, {"copies of inputs", copied}});
    std::vector<int64_t> rows;
    for (const LinearShape& linear : linears) rows.push_back(linear.rows);
    const double solving = solvers::target_bytes(rows, int64_t(n), int(costs.in.threads));
    costs.ledger.moment({{"Gram matrices", sums, false}, {"solver", solving, false}});
    costs.work().gram_flops += costs.tokens * (square(n) + 2 * n * (n + (residual ? hidden : 0)));
    costs.work().solve_flops +=
        2 * (kRidgesTried + 1) * (n * square(n) / 3 + 4 * size.all * n) + 2 * 8 * size.all * n;  // in f64
    costs.ledger.hold(Buffer::Gram, kDouble * square(n));
    return kFloat * size.all;
  }

  // Float weights become what the rest of the pass computes with; what follows other linears is written at the end of
  // the layer.
  void cost_of_putting(PassCosts& costs) const {
    const std::vector<const modifiers::Rescaler*>& rescalers = costs.in.chain.rescalers;
    const bool waits =
        std::any_of(rescalers.begin(), rescalers.end(), [](const auto* by) { return by->follows_linears(); });
    double narrower = 0, waiting = 0;
    for (const int index : group(costs).linears) {
      const ModuleInfo& linear = costs.block(b_).linears[size_t(index)];
      if (costs.in.assignment.find(linear.name) == nullptr) continue;
      const double of_scales = costs.groups_of(linear);  // for each weight
      if (costs.kept_as_integers(linear))
        narrower += (kFloat - kCode16 - kFloat * of_scales) * double(linear.parameters());
      if (waits) waiting += (1 + kSolvedGroupBytes * of_scales) * double(linear.parameters());
    }
    costs.ledger.hold(Buffer::Weights, costs.ledger.held(Buffer::Weights) - narrower);
    costs.ledger.hold(Buffer::SolvedWeights, costs.ledger.held(Buffer::SolvedWeights) + waiting);
  }
};

// The head, on what it reads after the last layer, or an embedding by itself.
class SolveEnd : public PassAction {
 public:
  explicit SolveEnd(const ModuleInfo& end) : PassAction(end.name), end_(end) {}
  bool solves() const override { return true; }

  void cost(PassCosts& costs) const override {
    costs.enter_stage();
    costs.ledger.hold(Buffer::Weights, bytes_of_ends(costs.in.shape));  // loaded to compute the head's input
    costs.ledger.moment({});
    costs.ledger.hold(Buffer::Weights, kFloat * double(end_.parameters()));
    const scheme::Scheme* scheme = costs.in.assignment.find(end_.name);
    const modifiers::Modifier& by =
        scheme != nullptr ? static_cast<const modifiers::Modifier&>(costs.in.assignment.quantizer_of(end_.name))
                          : *costs.in.sparsity.find(end_.name)->by;
    const bool looks = by.needs_calibration() && !end_.is_embedding();
    if (looks) costs.measure(double(end_.columns), -1, 0);
    const LinearShape linear{end_.rows, end_.columns,
                             scheme != nullptr && scheme->weights ? &*scheme->weights : nullptr};
    costs.solve(by.cost({&linear, 1}, {looks, costs.in.threads, costs.in.on_device}), by.name());
    costs.ledger.hold(Buffer::Weights, 0);
  }

  void run(PassState& state) const override {
    const Run& run = state.run;
    if (!end_.is_embedding()) {
      run.model.load_ends(run.weights);
      state.activations.make_room(end_.columns);
      state.forward([&](model::Flow& flow) { flow.input_TI = run.model.head_input(flow.hidden_TD); });
      run.model.drop_ends();
    }
    model::Linear linear{.name = end_.name, .rows = end_.rows, .columns = end_.columns};
    linear.stored_in = end_.tensor();
    linear.weight_OI = run.weights.load(end_.name + ".weight");
    state.inputs.begin(nullptr);
    if (end_.is_embedding()) {
      state.solver.solve_lookup(linear);
    } else {
      state.solver.prune({&linear}, -1);
      state.solver.quantize({&linear}, -1);
    }
    state.solver.finish(linear);
  }

 private:
  ModuleInfo end_;
};

}  // namespace

ActionPtr rescale(std::string at, int64_t b, int64_t s) { return std::make_unique<Rescale>(std::move(at), b, s); }
ActionPtr prune(std::string at, int64_t b, int64_t s, int64_t g) {
  return std::make_unique<Prune>(std::move(at), b, s, g);
}
ActionPtr quantize(std::string at, int64_t b, int64_t s, int64_t g) {
  return std::make_unique<Quantize>(std::move(at), b, s, g);
}
ActionPtr solve_end(const ModuleInfo& end) { return std::make_unique<SolveEnd>(end); }

}  // namespace swage::pipeline::actions
