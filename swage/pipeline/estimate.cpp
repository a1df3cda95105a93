#include "swage/pipeline/estimate.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/version.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/checkpoint/reader.h"
#include "swage/format/format.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"
#include "swage/plan/make_plan.h"
#include "swage/plan/placement.h"
#include "swage/resolve/bit_budget.h"
#include "swage/resolve/output.h"
#include "swage/resolve/quantized_source.h"
#include "swage/resolve/rescaling.h"
#include "swage/shards/model_free.h"
#include "swage/views/model_views.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCheckTokens = 4 * 128;  // of a run with text, see text.cpp

Json read_config(const fs::path& path) {
  SWAGE_CHECK(is_there(path), Io, path.string(), ": cannot be read; an estimate needs a model's config.json");
  Json config = read_json_file(path);
  SWAGE_CHECK(config.is_object(), CorruptData, path.string(), ": expected an object");
  return config;
}

bool holds_weights(const fs::path& folder) {
  constexpr const char* kEndings[] = {".safetensors", ".bin", ".pt",
                                      ".pth"};  // the Reader says what is wrong with the last three
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    for (const char* ending : kEndings) {
      if (entry.path().extension() == ending) return true;
    }
  }
  return false;
}

io::Dtype dtype_of(const Json& config) {
  const std::string name = config.get_string("torch_dtype", config.get_string("dtype", "bfloat16"));
  if (name == "float32") return io::Dtype::F32;
  return name == "float16" ? io::Dtype::F16 : io::Dtype::BF16;
}

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// Sizes of the output as the shapes alone tell: quantized modules in their formats, everything else as it is.
struct Sizes {
  uint64_t source = 0, output = 0, copied = 0, largest_copied = 0;
};

// `source_parameters`: of the source, which may have fewer than `shape`, where a tied head becomes a tensor of its own.
Sizes sizes_of(const model::ModelShape& shape, const Assignment& assignment, const Sparsity& sparsity, io::Dtype dtype,
               uint64_t source_bytes, int64_t source_parameters) {
  const uint64_t element = io::data_bytes({"", dtype, {1}});
  Sizes out;
  out.source = source_bytes > 0 ? source_bytes : uint64_t(source_parameters) * element;
  out.copied = out.source + uint64_t(shape.parameters() - source_parameters) * element;
  for (const model::ModuleInfo& module : shape.modules()) {
    const uint64_t bytes = uint64_t(module.parameters()) * element;
    const scheme::Scheme* scheme = assignment.find(module.name);
    const bool rewritten = scheme != nullptr || sparsity.find(module.name) != nullptr;
    if (rewritten)
      out.copied -= std::min(out.copied, bytes);
    else
      out.largest_copied = std::max(out.largest_copied, bytes);
    if (rewritten) out.output += scheme != nullptr ? stored_bytes(*scheme, module, dtype) : bytes;
  }
  out.output += out.copied;
  return out;
}

// Then they may be those of another machine, of which nothing here can be measured.
bool all_given(const Rates& rates) { return rates.gemm > 0 && rates.copy > 0 && rates.disk > 0; }

void estimate_time(const EstimateJob& job, const fs::path& folder, Plan& plan, Rates& rates) {
  rates = job.given;
  if (!all_given(job.given) && job.measure_seconds > 0) rates = measure_rates(folder, rates, job.measure_seconds);
  if (all_given(rates)) plan.estimate_time(rates);
}

Json texts(const std::vector<std::string>& list) {
  Json out = Json::array();
  for (const std::string& text : list) out.push_back(text);
  return out;
}

// The run that this is an estimate of, as far as a model-free run looks at it.
CompressJob model_free_job(const EstimateJob& job) {
  CompressJob out;
  out.source = job.source;
  out.chain = job.chain;
  out.recipe_file = job.recipe_file;
  out.model_free = job.model_free;
  return out;
}

Json estimate_model_free(const EstimateJob& job, const Context& context) {
  SWAGE_CHECK(holds_weights(job.source), InvalidArgument, job.source.string(),
              ": model-free runs are told by the headers of the shards, and there are none; without --model-free a "
              "config.json is enough");
  ModelFreePlan found = plan_model_free(model_free_job(job), context);
  Rates rates;
  estimate_time(job, job.source, found.plan, rates);
  Json out = Json::object();
  out.set("swage", kVersion);
  out.set("model_type", found.model_type);
  out.set("model_free", true);
  out.set("parameters", found.parameters);
  out.set("from", "headers of the shards, model-free");
  out.set("runs", true);
  out.set("modifier", job.chain.text());
  out.set("device", "cpu");
  out.set("threads", int64_t(at::get_num_threads()));
  out.set("plan", found.plan.to_json());
  out.set("rates", rates.to_json());
  out.set("warnings", texts(found.warnings));
  found.plan.check_budget(job.max_memory_bytes);
  return out;
}

// The model as far as it is there.
class Estimate {
 public:
  Estimate(const EstimateJob& job, const Context& context)
      : job_(job),
        context_(context),
        is_file_(fs::is_regular_file(job.source)),
        folder_(is_file_ ? job.source.parent_path() : job.source) {
    if (!is_file_ && holds_weights(folder_)) {
      reader_.emplace(folder_);
      weights_ = std::make_unique<format::CheckpointWeights>(*reader_, at::kCPU,
                                                             format::CheckpointWeightsOptions{.weights_only = true});
      check_no_transforms(*weights_, folder_, "compress");
      warnings_ = reader_->warnings();
      for (const io::TensorSpec& spec : reader_->tensors()) source_bytes_ += io::data_bytes(spec);
    }
    config_ = reader_ ? reader_->config() : read_config(is_file_ ? job.source : folder_ / "config.json");
    describe();
    assign();
  }

  Json run() {
    const bool calibrated =
        job_.chain.calibrating() != nullptr || assignment_.needs_calibration() || assignment_.budget;
    const int64_t positions = model_ ? model_->max_positions() : config_.get_int("max_position_embeddings", 0);
    SWAGE_CHECK(!calibrated || positions == 0 || job_.max_seq_length <= positions, InvalidArgument, "max-seq-length ",
                job_.max_seq_length, ": the model takes ", positions, " tokens");
    const PlanInput in = input(calibrated);
    const Placement placement(job_.device_map, job_.max_memory_bytes);
    Plan plan = placement.plan(in);
    Rates rates;
    estimate_time(job_, folder_, plan, rates);
    Json out = report(plan, rates);
    if (job_.device_map != DeviceMap::None) out.set("placement", placement.text(plan, in.on_device));
    placement.check(plan, in);
    return out;
  }

 private:
  const OnlineRotations* online() const { return views_ ? views_->online() : nullptr; }

  void describe() {
    const checkpoint::WeightSource& source = weights_ ? static_cast<const checkpoint::WeightSource&>(*weights_) : none_;
    std::vector<std::string> known = model::supported_model_types();
    const std::string model_type = config_.get_string("model_type", "");
    if (std::find(known.begin(), known.end(), model_type) != known.end() || model_type.empty()) {
      model_ = model::make_model(config_, source);
      source_parameters_ = model_->shape().parameters();
      views_ = std::make_unique<ModelViews>(
          ModelViews::Source{source, model_, config_, reader_ ? &*reader_ : nullptr,
                             weights_ ? weights_->encoded_modules() : std::vector<std::string>(), folder_.string()},
          job_.chain, context_.seed, at::kCPU);
      model_ = views_->model();
      if (views_->whole()) whole_ = views_->whole()->shape();
      shape_ = model_->shape();
      return;
    }
    for (const std::string& name : model::sized_model_types()) known.push_back(name);
    std::sort(known.begin(), known.end());
    SWAGE_CHECK(std::find(known.begin(), known.end(), model_type) != known.end(), Unsupported, "model_type \"",
                model_type, "\": the sizes of this architecture are not known; known are ", joined(known),
                ". A run with --model-free needs no architecture");
    SWAGE_CHECK(job_.chain.rotator == nullptr, Unsupported, "rotations: model_type \"", model_type,
                "\" is known by its sizes only, not by what reads and writes its residual stream");
    SWAGE_CHECK(job_.chain.expert_pruner == nullptr, Unsupported, job_.chain.text(), ": model_type \"", model_type,
                "\" is known by its sizes only, and experts are scored by running them");
    shape_ = graph::shape_of(model::make_program(config_, source));
    source_parameters_ = shape_.parameters();
    warnings_.push_back(cat("swage cannot run calibration text through ", model_type, " (", shape_.not_run,
                            "): these figures are what it would take. Methods without data work with --model-free"));
  }

  void assign() {
    try {
      assignment_ = assign_schemes(job_.chain, shape_.modules(), shape_.tied_embeddings, attention_class_of(config_));
    } catch (Error& e) {
      if (!job_.recipe_file.empty()) e.add_context(job_.recipe_file);
      throw;
    }
    for (const std::vector<std::string>& more : {job_.chain.warnings, assignment_.warnings})
      warnings_.insert(warnings_.end(), more.begin(), more.end());
    SWAGE_CHECK(!assignment_.budget || !whole_, Unsupported, job_.chain.text(),
                ": a bit budget is measured on the model as it is; prune its experts in a run before");
    if (assignment_.budget) keep_to_budget_of_shapes();
    if (model_) {
      const Rescalings rescalings = resolve_rescalings(job_.chain, *model_, assignment_, online());
      warnings_.insert(warnings_.end(), rescalings.warnings.begin(), rescalings.warnings.end());
      const std::vector<std::string> of_views = views_->warnings();
      warnings_.insert(warnings_.end(), of_views.begin(), of_views.end());
      sparsity_ = resolve_sparsity(job_.chain, *model_, assignment_);
      warnings_.insert(warnings_.end(), sparsity_.warnings.begin(), sparsity_.warnings.end());
      return;
    }
    SWAGE_CHECK(job_.chain.sparsifiers.empty(), Unsupported, "pruning: model_type \"",
                config_.get_string("model_type", ""), "\" is known by its sizes only");
  }

  // Which module gets which scheme is not known without a run; what they take together is.
  void keep_to_budget_of_shapes() {
    const std::vector<BudgetUnit> units =
        budget_units(assignment_, shape_.modules(), [&](const std::string&) { return dtype(); });
    const auto output_bytes = [&](const Assignment& assignment) {
      return sizes_of(shape_, assignment, sparsity_, dtype(), source_bytes_, source_parameters_).output;
    };
    keep_to_budget(units, costs_of_shapes(assignment_, units), output_bytes, assignment_);
  }

  io::Dtype dtype() const { return reader_ ? dense_dtype(*reader_) : dtype_of(config_); }

  PlanInput input(bool calibrated) const {
    const io::Dtype dtype = this->dtype();
    const Sizes sizes = sizes_of(shape_, assignment_, sparsity_, dtype, source_bytes_, source_parameters_);
    PlanInput in{.shape = shape_, .assignment = assignment_, .sparsity = sparsity_, .chain = job_.chain};
    in.source_bytes = sizes.source;
    in.output_bytes = sizes.output;
    in.copied_bytes = sizes.copied;
    in.largest_copied_bytes = sizes.largest_copied;
    const double dense = double(io::data_bytes({"", dtype, {1}}));  // what the source holds quantized is smaller
    in.bytes_per_weight = std::min(dense, double(sizes.source) / double(source_parameters_));
    in.rows = calibrated ? job_.num_calibration_samples : 0;
    in.row_tokens = calibrated ? job_.max_seq_length : 0;
    in.moe_routed = job_.moe_routed;
    in.rotates = job_.chain.rotator != nullptr;
    in.whole = whole_ ? &*whole_ : nullptr;
    if (online() != nullptr) {
      in.copied_bytes += online()->bytes();
      in.output_bytes += online()->bytes();
      in.rotated_inputs = online()->inputs();
      in.rotated_outputs = online()->outputs();
    }
    in.keeps_activations = true;
    in.check_tokens = calibrated && job_.check ? kCheckTokens : 0;
    in.threads = at::get_num_threads();
    if (!all_given(job_.given))
      in.process_bytes =
          process_bytes(in.threads, in.row_tokens, widest_linear(in.shape).columns, widest_linear(in.shape).rows);
    in.on_device = context_.device.kind == Device::Kind::Cuda;  // one need not be here
    return in;
  }

  Json report(const Plan& plan, const Rates& rates) const {
    int64_t layer = 0;
    for (const model::BlockShape& block : shape_.blocks) layer = std::max(layer, block.parameters());
    Json out = Json::object();
    out.set("swage", kVersion);
    out.set("model_type", config_.get_string("model_type", ""));
    out.set("parameters", shape_.parameters());
    out.set("layers", int64_t(shape_.blocks.size()));
    out.set("layer_parameters", layer);
    out.set("from", reader_ ? "headers of the shards" : "config.json");
    out.set("runs", model_ != nullptr);
    out.set("modifier", job_.chain.text());
    out.set("device", context_.device.kind == Device::Kind::Cuda ? "cuda" : "cpu");
    out.set("threads", int64_t(at::get_num_threads()));
    out.set("plan", plan.to_json());
    out.set("rates", rates.to_json());
    out.set("warnings", texts(warnings_));
    return out;
  }

  const EstimateJob& job_;
  const Context& context_;
  const bool is_file_;
  const fs::path folder_;
  std::optional<checkpoint::Reader> reader_;            // with the shards
  std::unique_ptr<format::CheckpointWeights> weights_;  // the same
  uint64_t source_bytes_ = 0;
  int64_t source_parameters_ = 0;
  Json config_;
  const checkpoint::NoWeights none_;
  std::unique_ptr<ModelViews> views_;
  std::shared_ptr<model::Model> model_;  // null: known by its sizes only
  model::ModelShape shape_;
  std::optional<model::ModelShape> whole_;  // before experts go
  Assignment assignment_;
  Sparsity sparsity_;
  std::vector<std::string> warnings_;
};

}  // namespace

Json run_estimate(const EstimateJob& job, const Context& context) {
  const bool shards = fs::is_directory(job.source) && holds_weights(job.source);
  if (job.model_free || (shards && runs_model_free(model_free_job(job)))) return estimate_model_free(job, context);
  return Estimate(job, context).run();
}

}  // namespace swage::pipeline
