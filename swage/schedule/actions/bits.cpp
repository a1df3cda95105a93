#include <algorithm>

#include "swage/eval/compare.h"
#include "swage/schedule/actions/forward_costs.h"
#include "swage/schedule/bit_probes.h"
#include "swage/schedule/bit_sensitivity.h"

namespace swage::pipeline::actions {
namespace {

using model::BlockShape, model::ModuleInfo, modifiers::LinearShape;

constexpr double kStoredBytes = 1.1;     // of a weight's codes with their scales
constexpr double kTriedWeights = 3;      // of a candidate: its values, its error and that multiplied
constexpr double kLogitsCompared = 5;    // of the float model, their weights, a probe's, and a sum in doubles
constexpr double kProbeTemporaries = 2;  // of what a linear reads and makes, beside the stream

double probe_rows(const PassCosts& costs) { return double(std::min(kProbeRows, costs.in.rows)); }
double probe_row_tokens(const PassCosts& costs) { return double(std::min(kProbeTokens, costs.in.row_tokens)); }
double probe_tokens(const PassCosts& costs) { return probe_rows(costs) * probe_row_tokens(costs); }
// Residual streams of so many probes and of the float model.
double bytes_of_streams(const PassCosts& costs, int64_t probes) {
  return double(probes + 1) * probe_tokens(costs) * costs.hidden * kFloat;
}

// Embeds all rows, and the sequences of the probes.
class EmbedProbes : public FloatAction {
 public:
  EmbedProbes() : FloatAction("embedding") {}

  void cost(PassCosts& costs) const override {
    costs.ledger.hold(Buffer::Probes, bytes_of_streams(costs, 0));
    cost_of_embedding(costs);
  }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time("measure errors");
    embed_rows(pass, [&] { pass.probes->embed(pass.ids_NL); });
  }
};

// Nothing is known yet of what the stage's linears read.
class EnterMeasuredStage : public FloatAction {
 public:
  using FloatAction::FloatAction;
  bool solves() const override { return true; }
  void cost(PassCosts& costs) const override { costs.enter_stage(); }
  void run(FloatPass& pass) const override { pass.probes->enter_stage(); }
};

// Quantizes the linears of an input group with every candidate.
class MeasureErrors : public FloatAction {
 public:
  MeasureErrors(std::string at, int64_t b, int64_t s, int64_t g) : FloatAction(std::move(at)), b_(b), s_(s), g_(g) {}
  bool solves() const override { return true; }

  void cost(PassCosts& costs) const override {
    const BlockShape& block = costs.block(b_);
    const model::InputGroup& group = block.stages[size_t(s_)].groups[size_t(g_)];
    const BitBudget& budget = *costs.in.assignment.budget;
    std::vector<LinearShape> tasks;  // of each linear, one for each candidate
    double columns = 0, largest = 0, weights = 0;
    bool turned = false;
    for (const int index : group.linears) {
      const ModuleInfo& linear = block.linears[size_t(index)];
      if (costs.in.assignment.find(linear.name) == nullptr) continue;
      for (size_t c = 0; c < budget.count; ++c)
        tasks.push_back({linear.rows, linear.columns, &*costs.in.assignment.schemes[budget.first + c].weights});
      columns = double(linear.columns);
      largest = std::max(largest, double(linear.parameters()));
      weights += double(linear.parameters());
      turned = turned || costs.in.rotated_inputs.contains(linear.name);
    }
    costs.measure(columns, group.expert, turned ? costs.copies_of_inputs(columns) : 0);
    costs.solve(budget.quantizer->cost(tasks, costs.setting()), budget.quantizer->name());
    costs.ledger.hold(Buffer::Probes, costs.ledger.held(Buffer::Probes) + kFloat * weights);
    costs.ledger.moment({{"candidates", double(budget.count) * kStoredBytes * weights, false},
                         {"candidates", costs.in.threads * kTriedWeights * kFloat * largest, false},
                         {"Gram matrices", kFloat * square(columns), false}});
  }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time("measure errors");
    pass.probes->measure(*pass.block, pass.block->stages[size_t(s_)].groups[size_t(g_)], *pass.activations);
  }

 private:
  int64_t b_, s_, g_;
};

// Begins the probes of the layer's units, and takes those of earlier layers through it.
class Probe : public FloatAction {
 public:
  Probe(std::string at, int64_t b, int64_t begun, int64_t begin)
      : FloatAction(std::move(at)),
        b_(b),
        begun_(begun),
        begin_(begin) {}
  bool solves() const override { return true; }

  void cost(PassCosts& costs) const override {
    const BlockShape& block = costs.block(b_);
    costs.enter_stage();
    const double weights = costs.ledger.held(Buffer::Probes) - bytes_of_streams(costs, begun_);
    costs.ledger.hold(Buffer::Probes, weights + bytes_of_streams(costs, begun_ + begin_));
    double widest = 0;
    for (const ModuleInfo& linear : block.linears)
      widest = std::max(widest, double(linear.rows) + double(linear.columns));
    const double a_token = kFloat * (kProbeTemporaries * widest + 4 * costs.hidden + double(block.kept_width));
    costs.ledger.moment(
        {{"forward pass", std::min(costs.forward_threads(), probe_rows(costs)) * a_token * probe_row_tokens(costs)}});
    costs.work().linear_flops += double(begun_ + begin_ + 1) * 2 * probe_tokens(costs) * double(block.parameters());
    costs.ledger.hold(Buffer::Probes, bytes_of_streams(costs, begun_ + begin_));
  }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time("measure divergences");
    pass.probes->enter_stage();
    pass.probes->probe(*pass.block, b_);
  }

 private:
  int64_t b_, begun_, begin_;
};

// Compares what the probes predict with what the float model does. The calibration rows are not needed any more.
class Predict : public FloatAction {
 public:
  explicit Predict(int64_t probes) : FloatAction("predictions"), probes_(probes) {}

  void cost(PassCosts& costs) const override {
    for (const Buffer buffer : {Buffer::Activations, Buffer::Gram, Buffer::GramScratch, Buffer::Allocator})
      costs.ledger.hold(buffer, 0);
    const double vocabulary = double(costs.in.shape.vocabulary_size);
    costs.ledger.moment(
        {{"embedding and head", bytes_of_ends(costs.in.shape)},
         {"logits", costs.in.threads * kLogitsCompared * double(eval::kRowsCompared) * vocabulary * kFloat}});
    costs.work().linear_flops += double(probes_ + 1) * 2 * probe_tokens(costs) * costs.hidden * vocabulary;
  }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time("measure divergences");
    pass.activations.reset();
    pass.probes->predict();
  }

 private:
  int64_t probes_;
};

}  // namespace

FloatActionPtr embed_probes() { return std::make_unique<EmbedProbes>(); }
FloatActionPtr enter_measured_stage(std::string at) { return std::make_unique<EnterMeasuredStage>(std::move(at)); }
FloatActionPtr measure_errors(std::string at, int64_t b, int64_t s, int64_t g) {
  return std::make_unique<MeasureErrors>(std::move(at), b, s, g);
}
FloatActionPtr probe(std::string at, int64_t b, int64_t begun, int64_t begin) {
  return std::make_unique<Probe>(std::move(at), b, begun, begin);
}
FloatActionPtr predict(int64_t probes) { return std::make_unique<Predict>(probes); }

}  // namespace swage::pipeline::actions
