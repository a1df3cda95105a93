#include "swage/pipeline/estimate.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/version.h"
#include "swage/model/model.h"
#include "swage/pipeline/resolved.h"
#include "swage/plan/make_plan.h"
#include "swage/plan/placement.h"
#include "swage/plan/process_memory.h"
#include "swage/resolve/declared_source.h"
#include "swage/shards/model_free.h"

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

Json estimate_model_free(const EstimateJob& job, const Context& context) {
  SWAGE_CHECK(holds_weights(job.source), InvalidArgument, job.source.string(),
              ": model-free runs are told by the headers of the shards, and there are none; without --model-free a "
              "config.json is enough");
  ModelFreePlan found = plan_model_free(job, context);
  Rates rates;
  estimate_time(job, job.source, found.plan, rates);
  Json out = Json::object();
  out.set("swage", kVersion);
  out.set("model_type", found.model_type);
  out.set("model_free", true);
  out.set("parameters", found.parameters);
  out.set("from", "headers of the shards, model-free");
  out.set("modifier", job.chain.text());
  out.set("device", "cpu");
  out.set("threads", int64_t(at::get_num_threads()));
  out.set("plan", found.plan.to_json());
  out.set("rates", rates.to_json());
  out.set("warnings", texts(found.warnings));
  found.plan.check_budget(job.max_memory);
  return out;
}

// The model as far as it is there.
checkpoint::Reader open_source(const fs::path& source, const std::string& architecture) {
  const bool is_file = fs::is_regular_file(source);
  const fs::path folder = is_file ? source.parent_path() : source;
  if (!is_file && holds_weights(folder)) return checkpoint::Reader(folder);
  return declared_source(folder, read_config(is_file ? source : folder / "config.json"), architecture);
}

class Estimate {
 public:
  Estimate(const EstimateJob& job, const checkpoint::Reader& reader, const Context& context)
      : job_(job),
        context_(context),
        reader_(reader),
        resolved_(job, reader_, context, at::kCPU) {}

  Json run() {
    const bool calibrated = resolved_.calibrates() || resolved_.assignment().budget;
    const int64_t positions = resolved_.model().max_positions();
    SWAGE_CHECK(!calibrated || positions == 0 || job_.max_seq_length <= positions, InvalidArgument, "max-seq-length ",
                job_.max_seq_length, ": the model takes ", positions, " tokens");
    const PlanInput in = input(calibrated);
    const Placement placement(job_.device_map, job_.max_memory);
    Plan plan = placement.plan(in);
    Rates rates;
    estimate_time(job_, folder(), plan, rates);
    Json out = report(in.shape, plan, rates);
    if (job_.device_map != DeviceMap::None) out.set("placement", placement.text(plan, in.on_device));
    placement.check(plan, in);
    return out;
  }

 private:
  const fs::path& folder() const { return reader_.folder(); }
  bool has_shards() const { return !reader_.files().empty(); }

  PlanInput input(bool calibrated) const {
    PlanInput in =
        resolved_.plan_input(calibrated ? job_.num_calibration_samples : 0, calibrated ? job_.max_seq_length : 0);
    in.check_tokens = calibrated && job_.check ? kCheckTokens : 0;
    in.process_bytes = all_given(job_.given) ? kProcessBytes
                                             : process_bytes(in.threads, in.row_tokens, widest_linear(in.shape).columns,
                                                             widest_linear(in.shape).rows);
    in.on_device = context_.device.kind == Device::Kind::Cuda;  // one need not be here
    return in;
  }

  std::vector<std::string> warnings() const {
    std::vector<std::string> out = reader_.warnings();
    const std::vector<std::string> more = resolved_.warnings();
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  std::string model_type() const { return reader_.config().get_string("model_type", ""); }

  Json report(const model::ModelShape& shape, const Plan& plan, const Rates& rates) const {
    int64_t layer = 0;
    for (const model::BlockShape& block : shape.blocks) layer = std::max(layer, block.parameters());
    Json out = Json::object();
    out.set("swage", kVersion);
    out.set("model_type", model_type());
    out.set("parameters", shape.parameters());
    out.set("layers", int64_t(shape.blocks.size()));
    out.set("layer_parameters", layer);
    out.set("from", has_shards() ? "headers of the shards" : "config.json");
    out.set("modifier", job_.chain.text());
    out.set("device", context_.device.kind == Device::Kind::Cuda ? "cuda" : "cpu");
    out.set("threads", int64_t(at::get_num_threads()));
    out.set("plan", plan.to_json());
    out.set("rates", rates.to_json());
    out.set("warnings", texts(warnings()));
    return out;
  }

  const EstimateJob& job_;
  const Context& context_;
  const checkpoint::Reader& reader_;
  const Resolved resolved_;
};

}  // namespace

bool estimates_model_free(const EstimateJob& job, const Context& context) {
  const bool shards = fs::is_directory(job.source) && holds_weights(job.source);
  return job.model_free || (shards && runs_model_free(job, context.architecture));
}

checkpoint::Reader open_for_estimate(const EstimateJob& job, const Context& context) {
  return open_source(job.source, context.architecture);
}

Json run_estimate(const EstimateJob& job, const checkpoint::Reader& reader, const Context& context) {
  return Estimate(job, reader, context).run();
}

Json run_estimate(const EstimateJob& job, const Context& context) {
  if (estimates_model_free(job, context)) return estimate_model_free(job, context);
  return run_estimate(job, open_for_estimate(job, context), context);
}

}  // namespace swage::pipeline
