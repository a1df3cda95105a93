#include "swage/plan/plan_budget.h"

#include <algorithm>
#include <set>
#include <string>

#include "swage/resolve/bit_budget.h"
#include "swage/schedule/bit_sensitivity.h"
#include "swage/schedule/calibrated_schedule.h"

namespace swage::pipeline {
namespace {

using model::BlockShape, model::ModuleInfo;

constexpr double kStoredBytes = 1.1;  // of a weight's codes with their scales
constexpr double kLogits = 3 * 64;    // rows of them in a thread

// What the budget adds to a calibration of so many rows.
struct Added {
  double results = 0, errors = 0,
         weights =
             0;  // the most of a layer: codes of all candidates; weights and errors on each thread; quantized weights
  double streams = 0;  // of all probes
  double gram = 0;     // where the modifier itself asks for none
  double probe_flops = 0, ends_flops = 0;
};

Added added(const PlanInput& in) {
  const BitBudget& budget = *in.assignment.budget;
  const double tokens = double(std::min(kProbeRows, in.rows)) * double(std::min(kProbeTokens, in.row_tokens)),
               hidden = double(in.shape.hidden_size);
  Added out;
  double running = 0;  // probes of the layers so far
  for (const BlockShape& block : in.shape.blocks) {
    std::set<std::string> units;
    double parameters = 0, largest = 0, columns = 0;
    for (const ModuleInfo& linear : block.linears) {
      if (in.assignment.find(linear.name) == nullptr) continue;
      units.insert(budget_unit_of(linear.name));
      parameters += double(linear.parameters());
      largest = std::max(largest, double(linear.parameters()));
      columns = std::max(columns, double(linear.columns));
    }
    out.results = std::max(out.results, double(budget.count - 1) * kStoredBytes * parameters);
    out.errors = std::max(out.errors, in.threads * 3 * kFloat * largest);
    if (!budget.quantizer->needs_calibration())
      out.gram = std::max(
          out.gram, 8 * columns * columns + gram_scratch_bytes(columns, double(in.rows * in.row_tokens), in.on_device));
    running += double(units.size());
    out.weights = std::max(out.weights, kFloat * parameters);
    out.probe_flops += (running + 1) * 2 * tokens * double(block.parameters());
  }
  out.streams = (running + 1) * tokens * hidden * kFloat;
  out.ends_flops = (running + 1) * 2 * tokens * hidden * double(in.shape.vocabulary_size);
  return out;
}

}  // namespace

PlanStage plan_budget(const PlanInput& input) {
  PlanInput part = input;  // of fewer rows
  part.rows = rows_measured(input.rows, input.row_tokens);
  part.keeps_activations = false;
  PlanStage stage = costs_of(calibrated_schedule(part), part)->stage;
  stage.name = "measure";
  const Added more = added(part);
  const auto add = [&](const char* name, double bytes, bool moves) {
    const bool device = moves && input.on_device;
    if (bytes > 0) stage.parts.push_back({name, device ? 0 : uint64_t(bytes), device ? uint64_t(bytes) : 0});
  };
  add("candidates", more.results + more.errors, false);
  add("Gram matrices", more.gram, true);
  add("probes", more.weights + more.streams, true);
  stage.work.linear_flops += stage.work.integer_flops + more.probe_flops + more.ends_flops;  // the float model runs
  stage.work.integer_flops = 0;
  stage.work.solve_flops *= double(input.assignment.budget->count);
  const double logits = input.threads * kLogits * double(input.shape.vocabulary_size) * kFloat;
  keep_larger(stage,
              Moment(input)
                  .moves("probes", more.streams)
                  .moves("embedding and head", bytes_of_ends(input.shape))
                  .moves("logits", logits),
              "predictions");
  return stage;
}

}  // namespace swage::pipeline
