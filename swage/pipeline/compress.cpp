#include "swage/pipeline/compress.h"

#include <ATen/Parallel.h>

#include <ctime>
#include <optional>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/ops/device.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/writer.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"
#include "swage/pipeline/data_free.h"
#include "swage/pipeline/plan.h"
#include "swage/pipeline/self_check.h"
#include "swage/pipeline/sequential.h"
#include "swage/pipeline/text.h"

namespace swage::pipeline {
namespace {

// Shapes as the config says, before anything is read.
void check_shapes(const checkpoint::Reader& reader, const checkpoint::WeightSource& weights, const model::Model& model) {
  for (const io::TensorSpec& wanted : model.required_tensors()) {
    const std::vector<int64_t> found = weights.shape(wanted.name);
    SWAGE_CHECK(!found.empty(), CorruptData, reader.folder().string(), ": tensor ", wanted.name, " is missing");
    SWAGE_CHECK(found == wanted.shape, CorruptData, reader.folder().string(), ": tensor ", wanted.name, " has shape ", io::shape_text(found),
                ", but config.json makes it ", io::shape_text(wanted.shape));
  }
}

class Compression {
 public:
  Compression(const CompressJob& job, const Context& context)
      : job_(job),
        context_(context),
        reader_(job.source),
        weights_(reader_, ops::to_torch(context.device)),
        model_(model::make_model(reader_.config(), weights_, ops::to_torch(context.device))) {
    SWAGE_CHECK(reader_.config().find("quantization_config") == nullptr, Unsupported, job.source.string(),
                ": is quantized already; compressing it again is not supported yet");
    check_shapes(reader_, weights_, *model_);
    assignment_ = assign_schemes(*job.modifier, *model_);
    layout_ = output_layout(reader_, *model_, assignment_);
  }

  Json run() {
    const data::Tokenizer tokenizer(job_.source);
    Text text;
    {
      const auto timed = clock_.time("read text");
      text = read_text(job_, tokenizer, context_.seed);
    }
    plan(text);
    if (job_.dry_run) return report(text);
    checkpoint::Writer writer(job_.target, layout_.tensors, {.shard_bytes = job_.shard_bytes, .overwrite = job_.overwrite});
    const Run run{context_, reader_, weights_, *model_, *job_.modifier, assignment_, writer, clock_, modules_};
    {
      const auto timed = clock_.time("copy untouched");
      copy_untouched(reader_, layout_, writer);
    }
    if (job_.modifier->needs_calibration()) {
      run_sequential(run, text.ids_NL, {.moe_routed = job_.moe_routed});
    } else {
      run_data_free(run);
    }
    write_side_files(reader_, assignment_, job_.recipe_yaml, writer);
    {
      const auto timed = clock_.time("sync");
      writer.close_shards();
    }
    check(text, writer);
    const Json out = report(text);
    writer.add_file("swage_report.json", out.dump(2) + "\n");
    writer.finish();
    return out;
  }

 private:
  void plan(const Text& text) {
    const bool calibrated = text.ids_NL.defined();
    plan_ = make_plan(reader_, *model_, assignment_, layout_, calibrated ? text.ids_NL.size(0) : 0, calibrated ? text.ids_NL.size(1) : 0,
                      at::get_num_threads());
    context_.log(Severity::Info, cat("plan: ", plan_.quantized_modules, " modules, ", plan_.quantized_parameters / 1000000, " M weights at ",
                                     plan_.bits_per_weight, " bits; ", plan_.source_bytes >> 20, " MiB in, ", plan_.output_bytes >> 20,
                                     " MiB out; memory ", plan_.peak_bytes >> 20, " MiB at most; ",
                                     (plan_.forward_flops + plan_.gram_flops) / 1e12, " TFLOP"));
  }

  void check(const Text& text, const checkpoint::Writer& writer) {
    {
      const auto timed = clock_.time("check files");
      check_files(writer.temporary(), modules_);
    }
    if (!job_.check || !text.windows_NL.defined()) return;
    const auto timed = clock_.time("check perplexity");
    Context quiet = context_;
    quiet.progress = [this](ProgressEvent event) {
      event.stage = "checking";
      context_.progress(event);
    };
    check_ = check_perplexity(*model_, weights_, writer.temporary(), text.windows_NL, quiet);
    check_.set("held_out", text.held_out);
  }

  Json report(const Text& text) const {
    Json out = Json::object();
    out.set("swage", "0.1.0");
    out.set("source", std::filesystem::absolute(job_.source).filename().string());
    out.set("model_type", reader_.config().get_string("model_type", ""));
    out.set("modifier", job_.modifier->name());
    out.set("seed", int64_t(context_.seed));
    out.set("device", to_string(context_.device));
    out.set("threads", int64_t(at::get_num_threads()));
    out.set("plan", plan_.to_json());
    out.set("calibration", text.to_json());
    if (job_.dry_run) return out;
    out.set("seconds", clock_.total_seconds());
    out.set("stage_seconds", clock_.to_json());
    out.set("peak_rss_bytes", peak_rss_bytes());
    if (!check_.is_null()) out.set("check", check_);
    Json modules = Json::array(), warnings = Json::array();
    for (const ModuleReport& module : modules_) {
      modules.push_back(module.to_json());
      for (const std::string& warning : module.warnings) warnings.push_back(cat(module.name, ": ", warning));
    }
    out.set("warnings", std::move(warnings));
    out.set("modules", std::move(modules));
    return out;
  }

  const CompressJob& job_;
  const Context& context_;
  const checkpoint::Reader reader_;
  const format::CheckpointWeights weights_;
  const std::unique_ptr<model::Model> model_;
  Assignment assignment_;
  OutputLayout layout_;
  Plan plan_;
  StageClock clock_;
  std::vector<ModuleReport> modules_;
  Json check_;
};

}  // namespace

Json run_compress(const CompressJob& job, const Context& context) { return Compression(job, context).run(); }

}  // namespace swage::pipeline
