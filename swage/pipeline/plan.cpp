#include "swage/pipeline/plan.h"

#include <algorithm>
#include <iomanip>
#include <map>
#include <set>
#include <sstream>

#include "swage/base/error.h"
#include "swage/base/memory_budget.h"

namespace swage::pipeline {
namespace {

// The process before any work: libtorch's code and tables that stay resident. Measured, see docs/performance.md.
constexpr uint64_t kBaseBytes = uint64_t{190} << 20;

constexpr double kMebibyte = 1 << 20;

struct BlockShape {
  int64_t parameters = 0, widest_input = 0, widest_output = 0, hidden = 0;
  std::set<std::pair<int64_t, std::string>> inputs;
};

// Modules of a block that read the same tensor have the same parent and the same width, apart from an attention's output
// (o_proj, out_proj), which reads another tensor than the projections beside it.
std::string input_key(const model::ModuleInfo& module) {
  const size_t dot = module.name.rfind('.');
  const std::string leaf = module.name.substr(dot + 1);
  return leaf.starts_with("o") || leaf.starts_with("down") || leaf == "w2" ? module.name : module.name.substr(0, dot);
}

}  // namespace

Plan make_plan(const checkpoint::Reader& reader, const model::Model& model, const Assignment& assignment, const OutputLayout& layout,
               int64_t rows, int64_t row_tokens, int threads) {
  Plan plan;
  plan.rows = rows;
  plan.row_tokens = row_tokens;
  plan.output_bytes = layout.bytes;
  for (const io::TensorSpec& spec : reader.tensors()) plan.source_bytes += io::data_bytes(spec);
  std::map<int, BlockShape> blocks;
  for (const model::ModuleInfo& module : model.modules()) {
    if (module.block >= 0) {
      BlockShape& block = blocks[module.block];
      block.parameters += module.rows * module.columns;
      block.widest_input = std::max(block.widest_input, module.columns);
      block.widest_output = std::max(block.widest_output, module.rows);
      if (assignment.find(module.name) != nullptr) block.inputs.emplace(module.columns, input_key(module));
    }
    if (assignment.find(module.name) == nullptr) continue;
    ++plan.quantized_modules;
    plan.quantized_parameters += module.rows * module.columns;
  }
  uint64_t copied = 0;
  const std::set<std::string> copies(layout.copied.begin(), layout.copied.end());
  for (const io::TensorSpec& spec : layout.tensors) {
    if (copies.contains(spec.name)) copied += io::data_bytes(spec);
  }
  if (plan.quantized_parameters > 0) plan.bits_per_weight = 8.0 * double(layout.bytes - copied) / double(plan.quantized_parameters);
  const double tokens = double(rows) * double(row_tokens);
  const uint64_t token_count = uint64_t(rows) * uint64_t(row_tokens);
  for (const auto& [index, block] : blocks) {
    plan.forward_flops += 2 * tokens * double(block.parameters);
    for (const auto& [columns, key] : block.inputs) plan.gram_flops += tokens * double(columns) * double(columns);
    plan.block_bytes = std::max(plan.block_bytes, uint64_t(block.parameters) * 4);
    const uint64_t widest = uint64_t(std::max(block.widest_input, int64_t(0)));
    plan.activation_bytes = std::max(plan.activation_bytes, token_count * 4 * (uint64_t(model.hidden_size()) + widest));
    if (rows > 0) plan.statistics_bytes = std::max(plan.statistics_bytes, widest * widest * 40);
  }
  const uint64_t ends = uint64_t(model.vocabulary_size()) * uint64_t(model.hidden_size()) * 4 * (model.tied_embeddings() ? 1 : 2);
  const uint64_t temporaries = uint64_t(threads) * uint64_t(std::max<int64_t>(row_tokens, 1)) * 4 * 3 *
                               uint64_t(blocks.empty() ? 0 : blocks.begin()->second.widest_output);
  const uint64_t calibrating = plan.activation_bytes + plan.statistics_bytes + 2 * plan.block_bytes + temporaries;
  plan.peak_bytes = kBaseBytes + std::max(calibrating, rows > 0 ? ends + plan.block_bytes : 3 * plan.block_bytes);
  return plan;
}

std::string Plan::summary() const {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << "plan: " << quantized_modules << " modules, " << double(quantized_parameters) / 1e6
      << " M weights at " << std::setprecision(2) << bits_per_weight << " bits; " << std::setprecision(1) << double(source_bytes) / kMebibyte
      << " MiB in, " << double(output_bytes) / kMebibyte << " MiB out; memory " << double(peak_bytes) / kMebibyte << " MiB at most";
  if (forward_flops > 0) out << "; " << std::defaultfloat << std::setprecision(3) << (forward_flops + gram_flops) / 1e12 << " TFLOP";
  return out.str();
}

void Plan::check_budget(uint64_t max_memory_bytes) const {
  if (max_memory_bytes == 0 || peak_bytes <= max_memory_bytes) return;
  std::string advice;
  const uint64_t excess = peak_bytes - max_memory_bytes;
  if (rows > 1 && activation_bytes > excess) {
    const uint64_t bytes_per_row = activation_bytes / uint64_t(rows), fewer = (excess + bytes_per_row - 1) / bytes_per_row;
    if (fewer < uint64_t(rows)) advice = cat("; or --num-calibration-samples ", rows - int64_t(fewer), " in place of ", rows);
  }
  throw Error(ErrorKind::InvalidArgument, cat("max-memory ", budget_text(max_memory_bytes), ": this run needs more; the smallest that would do is cpu=",
                                              budget_text(peak_bytes), advice));
}

Json Plan::to_json() const {
  Json out = Json::object();
  out.set("calibration_rows", rows);
  out.set("tokens_per_row", row_tokens);
  out.set("quantized_modules", quantized_modules);
  out.set("quantized_parameters", quantized_parameters);
  out.set("bits_per_weight", bits_per_weight);
  out.set("source_bytes", source_bytes);
  out.set("output_bytes", output_bytes);
  out.set("forward_flops", forward_flops);
  out.set("gram_flops", gram_flops);
  out.set("activation_bytes", activation_bytes);
  out.set("statistics_bytes", statistics_bytes);
  out.set("block_bytes", block_bytes);
  out.set("peak_bytes", peak_bytes);
  return out;
}

}  // namespace swage::pipeline
