#include "swage/schedule/run.h"

#include <algorithm>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/format/format.h"
#include "swage/resolve/output.h"

namespace swage::pipeline {

ModuleReport write_module(const Run& run, const std::string& name, const modifiers::SolvedLinear& solved,
                          int64_t tokens) {
  const size_t scheme = run.assignment.scheme_of.at(name);
  put_quantized(run.writer, name, run.assignment.schemes[scheme], solved.weight);
  ModuleReport report;
  report.name = name;
  report.scheme = scheme_text(run.assignment, run.sparsity, name);
  report.loss = solved.loss;
  report.relative_error = solved.relative_error;
  report.tokens = tokens;
  report.warnings = solved.warnings;
  report.target = solved.target;
  report.sparsity = solved.sparsity;
  report.fingerprint = fingerprint(solved.weight);
  return report;
}

void note_module(const Run& run, ModuleReport report) {
  for (const std::string& warning : report.warnings)
    run.context.log(Severity::Warning, cat(report.name, ": ", warning));
  run.modules.push_back(std::move(report));
}

void finish_module(const Run& run, const std::string& name, const modifiers::SolvedLinear& solved, int64_t tokens) {
  note_module(run, write_module(run, name, solved, tokens));
}

at::ScalarType stored_type(const Run& run, const std::string& tensor) {
  return checkpoint::scalar_type_of(stored_dtype(run.reader, tensor));
}

void put_rewritten(const Run& run, const std::string& name, const at::Tensor& value) {
  run.writer.put(name, value.to(checkpoint::scalar_type_of(run.reader.find(name)->dtype)));
}

void drop_block(const checkpoint::Reader& reader, const model::Model& model, int64_t block) {
  for (const std::string& name : model.tensors_of_block(block)) {
    if (reader.find(name) != nullptr) reader.drop(name);
  }
}

namespace {

// What is stored of a module, through the Writer.
class WrittenTensors : public checkpoint::WeightSource {
 public:
  explicit WrittenTensors(const Run& run) : run_(run) {}
  at::Tensor stored(const std::string& name) const {
    return run_.writer.plans(name) ? run_.writer.read_back(name) : at::Tensor();
  }
  std::vector<int64_t> shape(const std::string& name) const override {
    return run_.writer.plans(name) ? run_.writer.read_back(name).sizes().vec() : std::vector<int64_t>();
  }
  at::Tensor load(const std::string& name) const override { return run_.writer.read_back(name).to(at::kFloat); }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string& module) const override {
    return run_.assignment.find(module)->input_activations;
  }
  void prefetch(const std::vector<std::string>&) const override {}

 private:
  const Run& run_;
};

void check_unchanged(const Run& run, const std::string& name, uint64_t found) {
  const auto report = std::find_if(run.modules.begin(), run.modules.end(),
                                   [&](const ModuleReport& module) { return module.name == name; });
  SWAGE_CHECK(report != run.modules.end() && report->fingerprint == found, CorruptData, run.writer.temporary().string(),
              ": ", name, " is not what the interrupted run wrote");
}

}  // namespace

format::QuantizedWeight read_module(const Run& run, const std::string& name) {
  const scheme::Scheme& scheme = *run.assignment.find(name);
  const WrittenTensors written(run);
  const auto lookup = [&](const std::string& suffix) { return written.stored(name + "." + suffix); };
  format::QuantizedWeight weight = format::format_named(scheme.format).unpack(*scheme.weights, lookup);
  check_unchanged(run, name, fingerprint(weight));
  return weight;
}

at::Tensor read_pruned(const Run& run, const std::string& name) {
  at::Tensor weight_OI = run.writer.read_back(name + ".weight");
  check_unchanged(run, name, fingerprint(weight_OI));
  return weight_OI;
}

std::optional<model::ActivationQuantization> read_input(const Run& run, const std::string& name) {
  return model::load_input_quantization(name, WrittenTensors(run));
}

void finish_pruned(const Run& run, const std::string& name, const modifiers::SparsifiedLinear& pruned,
                   const at::Tensor& stored, int64_t tokens) {
  ModuleReport report;
  report.name = name;
  report.scheme = scheme_text(run.assignment, run.sparsity, name);
  report.loss = pruned.loss;
  report.relative_error = pruned.relative_error;
  report.tokens = tokens;
  report.warnings = pruned.warnings;
  report.sparsity = pruned.sparsity;
  report.dense = true;
  report.fingerprint = fingerprint(stored);
  note_module(run, std::move(report));
}

namespace {

// Those whose output is compared: routers of pruned mixtures are not.
bool is_compared(const ModuleReport& module) { return !module.experts; }

int64_t modules_planned(const Run& run) {
  int64_t out = int64_t(run.assignment.scheme_of.size());
  for (const auto& [name, choice] : run.sparsity.of_module) out += run.assignment.find(name) == nullptr ? 1 : 0;
  return out;
}

}  // namespace

void tell_progress(const Run& run, const Pass& pass, int64_t layer, double done, size_t first_module, bool milestone) {
  ProgressEvent event;
  event.stage = pass.stage;
  event.layer = layer;
  event.layers = run.model.blocks();
  event.milestone = milestone;
  event.elapsed_seconds = run.clock.total_seconds();
  event.modules = modules_planned(run);
  event.modules_done = std::count_if(run.modules.begin(), run.modules.end(), is_compared);
  event.rss_bytes = current_rss_bytes();
  for (size_t i = first_module; i < run.modules.size(); ++i) {
    const ModuleReport& module = run.modules[i];
    if (!is_compared(module) || (!event.module.empty() && !(module.relative_error > event.loss))) continue;
    event.module = module.name;
    event.loss = module.relative_error;
  }
  const double spent = event.elapsed_seconds - pass.began_seconds, own = done - pass.first;
  if (own > 0 && spent > 0) event.tokens_per_second = double(pass.tokens) * own / spent;
  const double stage_eta = own > 0 ? spent / own * (double(event.layers) - done) : -1;
  if (run.progress != nullptr)
    event = run.progress->of_run(std::move(event), pass.planned, pass.began_seconds, stage_eta);
  else
    event.eta_seconds = stage_eta;
  run.context.progress(event);
}

}  // namespace swage::pipeline
