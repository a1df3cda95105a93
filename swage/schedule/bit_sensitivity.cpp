#include "swage/schedule/bit_sensitivity.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "swage/base/error.h"
#include "swage/job/steps.h"
#include "swage/schedule/bit_probes.h"

namespace swage::pipeline {
namespace {

constexpr int64_t kErrorTokens = 16384;

class BitScheduleBuilder {
 public:
  explicit BitScheduleBuilder(const PlanInput& input) : in_(input) {}

  FloatSchedule build() {
    FloatSchedule out;
    FloatSection& before = out.emplace_back(FloatSection{"embed", -1, {}});
    before.actions.push_back(actions::embed_probes());
    const int64_t blocks = int64_t(in_.shape.blocks.size());
    for (int64_t b = 0; b < blocks; ++b) {
      FloatSection& layer = out.emplace_back(FloatSection{block_step(b), b, {}});
      add_layer(b, b + 1 == blocks, layer.actions);
    }
    out.emplace_back(FloatSection{"predict", -1, {}}).actions.push_back(actions::predict(begun_));
    return out;
  }

 private:
  void add_layer(int64_t b, bool last, std::vector<FloatActionPtr>& out) {
    const model::BlockShape& block = in_.shape.blocks[size_t(b)];
    std::set<std::string> units;
    out.push_back(actions::enter_float_block(cat("layer ", b), b));
    for (size_t s = 0; s < block.stages.size(); ++s) {
      const model::Stage& stage = block.stages[s];
      const std::string at = cat("layer ", b, ", ", stage.name);
      out.push_back(actions::enter_measured_stage(at));
      for (size_t g = 0; g < stage.groups.size(); ++g) {
        bool any = false;
        for (const int index : stage.groups[g].linears) {
          const model::ModuleInfo& linear = block.linears[size_t(index)];
          if (in_.assignment.find(linear.name) == nullptr) continue;
          any = true;
          units.insert(budget_unit_of(linear));
        }
        if (any) out.push_back(actions::measure_errors(at, b, int64_t(s), int64_t(g)));
      }
      // What the last layer makes is read by its probes alone, which run it themselves.
      if (!last || s + 1 < block.stages.size()) out.push_back(actions::float_step(at, b, int64_t(s)));
    }
    out.push_back(actions::probe(cat("layer ", b), b, begun_, int64_t(units.size())));
    begun_ += int64_t(units.size());
    out.push_back(actions::leave_float_block(cat("layer ", b), b));
  }

  const PlanInput& in_;
  int64_t begun_ = 0;  // probes, in the layers so far
};

}  // namespace

PlanInput measured_part(const PlanInput& input) {
  PlanInput out = input;
  out.rows = std::clamp<int64_t>(kErrorTokens / std::max<int64_t>(input.row_tokens, 1), 1, input.rows);
  return out;
}

FloatSchedule bit_schedule(const PlanInput& input) { return BitScheduleBuilder(input).build(); }

PlanStage plan_bits(const PlanInput& input) {
  const PlanInput part = measured_part(input);
  return plan_float_pass(bit_schedule(part), part, "measure");
}

BudgetCosts measure_costs(const SensitivityJob& job, const at::Tensor& ids_NL, size_t probed) {
  const FloatPassJob& of_pass = job.pass;
  BitProbes probes(of_pass, job.assignment, job.units, probed);
  FloatPass pass{of_pass, ids_NL.narrow(0, 0, of_pass.planned.rows), "measure", "measuring", "measure errors"};
  pass.probes = &probes;
  FloatPassKeeper keeper;
  if (job.store != nullptr) {
    keeper.take_up = [&] { return probes.take_up(job.store->load()); };
    keeper.keep = [&](int64_t blocks) { job.store->save(probes.kept(blocks)); };
  }
  run_float_pass(pass, bit_schedule(of_pass.planned), keeper);
  BudgetCosts out;
  for (size_t u = 0; u < job.units.size(); ++u) {
    const std::vector<double>& errors = probes.errors()[u];
    const double divergence = probes.divergences()[u];
    auto& costs = out.emplace_back();
    SWAGE_CHECK(std::isfinite(divergence), Numerical, job.units[u].name,
                ": the model's predictions are not finite with it quantized");
    for (const double error : errors)
      costs.push_back(errors[probed] > 0 ? std::max(divergence, 0.0) * error / errors[probed] : 0);
  }
  return out;
}

}  // namespace swage::pipeline
