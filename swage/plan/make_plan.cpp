#include "swage/plan/make_plan.h"

#include <algorithm>
#include <memory>

#include "swage/base/error.h"
#include "swage/schedule/actions/forward_costs.h"
#include "swage/schedule/bit_sensitivity.h"
#include "swage/schedule/calibrated_schedule.h"
#include "swage/schedule/data_free.h"
#include "swage/schedule/owl.h"

namespace swage::pipeline {
namespace {

using model::ModuleInfo;

constexpr double kLogitRows = 128;  // of the perplexity check, at once in a thread, twice
constexpr double kCheckPasses = 6;  // over float32 weights: both models are read and converted
constexpr double kFingerprintPasses = 1.5;

// Over when a run is planned, and so known: nothing is added to it for errors of the plan. The process that the later
// stages begin with holds what is left of it.
PlanStage text_stage(const PlanInput& in) {
  return {.name = "read text", .at = {}, .parts = {{"process", uint64_t(in.text_bytes)}}, .work = {}};
}

PlanStage copy_stage(const PlanInput& in) {
  PlanStage stage{.name = "copy", .at = {}, .parts = {}, .work = {}};
  keep_larger(stage, Moment(in).host("pages of the source", double(in.largest_copied_bytes)), "");
  if (in.rotates) {
    const double weights = double(in.largest_copied_bytes) / in.bytes_per_weight;
    keep_larger(stage,
                Moment(in)
                    .host("pages of the source", double(in.largest_copied_bytes))
                    .host("rotation", kRotationBytes * weights),
                "rotating");
  }
  stage.work.read_bytes = stage.work.written_bytes = in.copied_bytes;
  stage.work.moved_bytes = double(in.copied_bytes);
  return stage;
}

PlanStage embed_stage(const PlanInput& in) {
  PassCosts costs(in);
  costs.stage.name = "embed";
  costs.ledger.begin_action("");
  actions::cost_of_embedding(costs);
  return costs.stage;
}

// Modules are read back; then, with text, the perplexity of the model before and after.
PlanStage check_stage(const PlanInput& in) {
  PlanStage stage{.name = "check", .at = {}, .parts = {}, .work = {}};
  double largest = 0, layer = 0, parameters = 0;
  for (const model::BlockShape& block : (in.whole != nullptr ? *in.whole : in.shape).blocks) {
    layer = std::max(layer, double(block.parameters()));
    parameters += double(block.parameters());
    for (const ModuleInfo& linear : block.linears) largest = std::max(largest, double(linear.parameters()));
  }
  keep_larger(stage, Moment(in).host("weights read back", in.threads * 3 * largest), "files");
  stage.work.read_bytes = in.output_bytes - in.copied_bytes;
  stage.work.moved_bytes = kFingerprintPasses * double(in.output_bytes - in.copied_bytes);
  if (in.check_tokens == 0) return stage;
  const double ends = bytes_of_ends(in.shape),
               logits = in.threads * 2 * kLogitRows * double(in.shape.vocabulary_size) * kFloat;
  Moment now(in);
  now.moves("embedding and head", ends).moves("weights of a layer", kFloat * (layer + largest)).moves("logits", logits);
  keep_larger(stage, now, "perplexity");
  stage.work.linear_flops =
      2 * 2 * double(in.check_tokens) * (parameters + double(in.shape.vocabulary_size) * double(in.shape.hidden_size));
  stage.work.read_bytes += in.source_bytes + in.output_bytes;
  stage.work.moved_bytes += kCheckPasses * (kFloat * parameters + ends);
  return stage;
}

void count_modules(const PlanInput& in, Plan& plan) {
  for (const ModuleInfo& module : in.shape.modules()) {
    if (in.sparsity.find(module.name) != nullptr) ++plan.pruned_modules;
    if (in.assignment.find(module.name) == nullptr) continue;
    ++plan.quantized_modules;
    plan.quantized_parameters += module.parameters();
  }
  if (plan.quantized_parameters > 0)
    plan.bits_per_weight = 8.0 * double(in.output_bytes - in.copied_bytes) / double(plan.quantized_parameters);
}

}  // namespace

Widest widest_linear(const model::ModelShape& shape) {
  Widest out;
  for (const model::BlockShape& block : shape.blocks) {
    for (const ModuleInfo& linear : block.linears) {
      out.columns = std::max(out.columns, linear.columns);
      out.rows = std::max(out.rows, linear.rows);
    }
  }
  return out;
}

Plan make_plan(const PlanInput& in) {
  Plan plan;
  plan.rows = in.rows;
  plan.row_tokens = in.row_tokens;
  plan.rows_in_file = std::max<int64_t>(0, in.rows - in.rows_in_memory);
  plan.source_bytes = in.source_bytes;
  plan.output_bytes = in.output_bytes;
  count_modules(in, plan);
  if (in.text_bytes > in.process_bytes) plan.stages.push_back(text_stage(in));
  if (in.rows > 0 && needs_owl(in.sparsity)) plan.stages.push_back(plan_owl(in));
  plan.stages.push_back(copy_stage(in));
  if (in.rows > 0 && in.assignment.budget) plan.stages.push_back(plan_bits(in));
  if (in.rows > 0 && (in.chain.calibrating() != nullptr || in.assignment.needs_calibration())) {
    plan.stages.push_back(embed_stage(in));
    const std::unique_ptr<PassCosts> calibration = costs_of(calibrated_schedule(in), in);
    plan.activation_bytes = calibration->activation_bytes;
    plan.stages.push_back(calibration->stage);
  } else {
    plan.stages.push_back(plan_data_free(in));
  }
  plan.stages.back().work.written_bytes += in.output_bytes - in.copied_bytes;
  plan.stages.push_back(check_stage(in));
  for (const PlanStage& stage : plan.stages) {
    plan.peak_bytes = std::max(plan.peak_bytes, stage.host_bytes());
    plan.device_peak_bytes = std::max(plan.device_peak_bytes, stage.device_bytes());
  }
  return plan;
}

Plan make_plan_within(PlanInput input, uint64_t max_memory_bytes) {
  Plan plan = make_plan(input);
  if (max_memory_bytes == 0 || plan.safe_peak_bytes() <= max_memory_bytes || input.rows == 0 || !input.may_offload ||
      input.on_device)
    return plan;
  const auto peak_with = [&](int64_t rows_in_memory) {
    input.rows_in_memory = rows_in_memory;
    return make_plan(input).safe_peak_bytes();
  };
  const uint64_t without = peak_with(0);
  if (without > max_memory_bytes) return make_plan(input);  // refused with what would do
  const uint64_t limit = std::max(max_memory_bytes / 10 * 9, without + (max_memory_bytes - without) / 2);
  int64_t fits = 0, too_many = input.rows;
  while (fits + 1 < too_many) {
    const int64_t middle = (fits + too_many) / 2;
    (peak_with(middle) <= limit ? fits : too_many) = middle;
  }
  input.rows_in_memory = fits;
  return make_plan(input);
}

}  // namespace swage::pipeline
