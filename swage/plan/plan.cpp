#include "swage/plan/plan.h"

#include <algorithm>
#include <cmath>
#include <iomanip>
#include <sstream>
#include <string_view>

#include "swage/base/amounts.h"
#include "swage/base/error.h"
#include "swage/base/memory_budget.h"

namespace swage::pipeline {
namespace {

constexpr double kMebibyte = 1 << 20;
constexpr uint64_t kPlanError =
    20;  // one in so many: how far runs were above what was planned for their work, at most; docs/performance.md
constexpr std::string_view kProcessPart = "process";  // the first one of each stage

// Shares of the rate of f32 products that these reach; measured on SmolLM2-135M, see docs/performance.md.
constexpr double kAttentionShare = 0.6, kSolveShare = 0.8;

std::string mebibytes(uint64_t bytes) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(bytes < (10u << 20) ? 1 : 0) << double(bytes) / kMebibyte << " MiB";
  return out.str();
}

double quotient(double amount, double rate) { return rate > 0 ? amount / rate : 0; }

Json part_json(const PlanPart& part) {
  Json out = Json::object();
  out.set("name", part.name);
  out.set("host_bytes", part.host);
  out.set("device_bytes", part.device);
  return out;
}

Json stage_json(const PlanStage& stage) {
  Json out = Json::object(), parts = Json::array();
  out.set("name", stage.name);
  out.set("at", stage.at);
  out.set("host_bytes", stage.host_bytes());
  out.set("device_bytes", stage.device_bytes());
  for (const PlanPart& part : stage.parts) parts.push_back(part_json(part));
  out.set("parts", std::move(parts));
  out.set("forward_flops", stage.work.linear_flops + stage.work.integer_flops + stage.work.attention_flops);
  out.set("gram_flops", stage.work.gram_flops);
  out.set("solve_flops", stage.work.solve_flops);
  out.set("moved_bytes", stage.work.moved_bytes);
  out.set("read_bytes", stage.work.read_bytes);
  out.set("written_bytes", stage.work.written_bytes);
  if (stage.seconds > 0) out.set("seconds", stage.seconds);
  if (!stage.on_host.empty()) {
    Json names = Json::array();
    for (const std::string& name : stage.on_host) names.push_back(name);
    out.set("computed_on_host", std::move(names));
  }
  return out;
}

}  // namespace

const PlanStage* Plan::largest_stage() const {
  const auto most = std::max_element(stages.begin(), stages.end(), [](const PlanStage& a, const PlanStage& b) {
    return a.host_bytes() < b.host_bytes();
  });
  return most == stages.end() ? nullptr : &*most;
}

PlanWork Plan::work() const {
  PlanWork sum;
  for (const PlanStage& stage : stages) sum += stage.work;
  return sum;
}

std::vector<StageShare> Plan::shares() const {
  std::vector<StageShare> out;
  for (const PlanStage& stage : stages) out.push_back({stage.name, stage.work.flops(), stage.seconds});
  return out;
}

void Plan::estimate_time(const Rates& rates) {
  seconds = 0;
  for (PlanStage& stage : stages) {
    const PlanWork& work = stage.work;
    const double computing =
        quotient(work.linear_flops, rates.gemm) + quotient(work.integer_flops, rates.integer) +
        quotient(work.attention_flops, kAttentionShare * rates.gemm) + quotient(work.gram_flops, rates.gram) +
        quotient(work.solve_flops, kSolveShare * rates.gemm) + quotient(work.moved_bytes, rates.copy);
    stage.seconds = std::max(computing, quotient(double(work.read_bytes + work.written_bytes), rates.disk));
    seconds += stage.seconds;
  }
}

std::string Plan::summary() const {
  std::string out = "plan:";
  if (quantized_modules > 0) {
    out += cat(" ", quantized_modules, " modules, ", number_text(double(quantized_parameters) / 1e6, 1),
               " M weights at ", number_text(bits_per_weight, 2), " bits;");
  }
  if (pruned_modules > 0) out += cat(" ", pruned_modules, " modules pruned;");
  out += cat(" ", bytes_text(int64_t(source_bytes)), " in, ", bytes_text(int64_t(output_bytes)), " out; memory ",
             bytes_text(int64_t(peak_bytes)), " at most");
  const double flops = work().flops();
  if (rows > 0 && flops > 0) out += cat("; ", number_text(flops / 1e12, flops < 1e13 ? 2 : 1), " TFLOP");
  return out;
}

std::string Plan::time_summary() const {
  if (seconds <= 0) return {};
  std::string out = cat("plan: about ", seconds_text(seconds));
  if (rows > 0) out += cat(" for ", rows, " rows of ", row_tokens, " tokens");
  return out;
}

std::string Plan::memory_summary() const {
  const PlanStage* stage = largest_stage();
  if (stage == nullptr) return {};
  std::string out = cat("plan: memory is largest in ", stage->name, stage->at.empty() ? "" : " (", stage->at,
                        stage->at.empty() ? "" : ")", ":");
  const char* separator = " ";
  for (const PlanPart& part : stage->parts) {
    if (part.host < (1u << 18)) continue;  // a quarter of a MiB says nothing
    out += cat(separator, part.name, " ", mebibytes(part.host));
    separator = ", ";
  }
  if (rows_in_file > 0) out += cat("; activations ", where_activations_are());
  if (device_peak_bytes > 0) out += cat("; on the GPU ", mebibytes(device_peak_bytes), " at most");
  if (!stage->on_host.empty()) {
    out += "; on the host, with copies of its statistics: ";
    for (size_t i = 0; i < stage->on_host.size(); ++i) out += (i > 0 ? ", " : "") + stage->on_host[i];
  }
  return out;
}

std::string Plan::where_activations_are() const {
  const std::string size = budget_text(activation_bytes);
  if (rows_in_file == 0) return cat("in memory (", size, ")");
  if (rows_in_file == rows) return cat("in a file (", size, ")");
  return cat("of ", rows_in_file, " of ", rows, " rows in a file, of the others in memory (", size, " in all)");
}

uint64_t Plan::safe_peak_bytes() const {
  uint64_t most = peak_bytes;
  for (const PlanStage& stage : stages) {
    const bool has_process = !stage.parts.empty() && stage.parts[0].name == kProcessPart;
    most = std::max(most,
                    stage.host_bytes() + (stage.host_bytes() - (has_process ? stage.parts[0].host : 0)) / kPlanError);
  }
  return most;
}

void Plan::check_budget(uint64_t max_memory_bytes) const {
  const uint64_t needed = safe_peak_bytes();
  if (max_memory_bytes == 0 || needed <= max_memory_bytes) return;
  throw Error(ErrorKind::InvalidArgument,
              cat("max-memory ", budget_text(max_memory_bytes),
                  ": this run needs more; the smallest that would do is cpu=", budget_text(needed)));
}

Json Plan::to_json() const {
  const PlanWork work = this->work();
  Json out = Json::object();
  out.set("calibration_rows", rows);
  out.set("tokens_per_row", row_tokens);
  out.set("quantized_modules", quantized_modules);
  out.set("quantized_parameters", quantized_parameters);
  if (pruned_modules > 0) out.set("pruned_modules", pruned_modules);
  out.set("bits_per_weight", bits_per_weight);
  out.set("source_bytes", source_bytes);
  out.set("output_bytes", output_bytes);
  out.set("forward_flops", work.linear_flops + work.integer_flops + work.attention_flops);
  out.set("gram_flops", work.gram_flops);
  out.set("solve_flops", work.solve_flops);
  out.set("read_bytes", work.read_bytes);
  out.set("written_bytes", work.written_bytes);
  out.set("activation_bytes", activation_bytes);
  out.set("activations_in_file", rows_in_file > 0);
  out.set("rows_in_file", rows_in_file);
  out.set("peak_bytes", peak_bytes);
  out.set("device_peak_bytes", device_peak_bytes);
  if (seconds > 0) out.set("seconds", seconds);
  Json list = Json::array();
  for (const PlanStage& stage : stages) list.push_back(stage_json(stage));
  out.set("stages", std::move(list));
  return out;
}

}  // namespace swage::pipeline
