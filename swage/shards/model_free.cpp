#include "swage/shards/model_free.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <numeric>
#include <thread>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/base/version.h"
#include "swage/checkpoint/reader.h"
#include "swage/job/identity.h"
#include "swage/job/journaled_run.h"
#include "swage/job/output_place.h"
#include "swage/job/output_texts.h"
#include "swage/model/model.h"
#include "swage/plan/plan.h"
#include "swage/plan/process_memory.h"
#include "swage/report/report.h"
#include "swage/resolve/output.h"
#include "swage/shards/model_free_config.h"
#include "swage/shards/model_free_layout.h"
#include "swage/shards/model_free_modules.h"
#include "swage/shards/model_free_work.h"

namespace swage::pipeline {
namespace {

// The process with libtorch's code, measured; and what names, shapes and places of one tensor take in all tables
// together.
constexpr uint64_t kBaseBytes = uint64_t{190} << 20, kBytesPerTensor = 1500;
// Buffers of a thread, in the size of a chunk of the source: itself, codes, packed codes, scales.
constexpr uint64_t kBuffers = 4;

void add_targets_of_groups(const Json& config_groups, std::vector<std::string>& targets) {
  for (const auto& [name, group] : config_groups.as_object()) {
    const Json* list = group.is_object() ? group.find("targets") : nullptr;
    if (list == nullptr || !list->is_array()) continue;
    for (const Json& target : list->as_array()) {
      if (target.is_string()) targets.push_back(target.as_string());
    }
  }
}

std::vector<std::string> exact_targets(const modifiers::Chain& chain) {
  std::vector<std::string> targets;
  for (const modifiers::Quantizer* quantizer : chain.quantizers) {
    const modifiers::QuantizationFields& fields = quantizer->quantization();
    targets.insert(targets.end(), fields.targets.begin(), fields.targets.end());
    if (fields.config_groups.is_object()) add_targets_of_groups(fields.config_groups, targets);
  }
  return targets;
}

class ModelFree {
 public:
  ModelFree(const CompressJob& job, const Context& context)
      : job_(job),
        context_(context),
        source_(job.source),
        reader_(source_.reader()),
        existing_(existing_quantization(reader_)),
        modules_(find_modules(reader_, exact_targets(job.chain))) {
    const modifiers::Modifier* calibrating = job.chain.calibrating();
    SWAGE_CHECK(calibrating == nullptr, Unsupported, calibrating->name(),
                ": needs data and a model, so it cannot run model-free");
    SWAGE_CHECK(job.chain.rotator == nullptr, Unsupported, job.chain.text(),
                ": rotations are not supported model-free: names and shapes do not say what reads and writes the "
                "residual stream");
    SWAGE_CHECK(job.chain.sparsifiers.empty(), Unsupported, job.chain.text(), ": pruning is not supported model-free");
    assign();
    SWAGE_CHECK(!assignment_.budget, Unsupported,
                "model-free: a bit budget measures errors on data, which need a model");
    SWAGE_CHECK(!assignment_.needs_calibration(), Unsupported,
                "model-free: the scheme has static scales of activations, which need data and a model");
    layout_ = free_layout(reader_, modules_, assignment_);
    make_plan();
  }

  Json run() {
    context_.log(Severity::Info,
                 cat("model-free",
                     job_.model_free ? ""
                                     : cat(", because model_type \"", reader_.config().get_string("model_type", ""),
                                           "\" is not known to swage"),
                     ": works from the shards alone; no model is run, and no perplexity is measured"));
    context_.log(Severity::Info, plan_.summary());
    context_.log(Severity::Info, plan_.memory_summary());
    plan_.check_budget(job_.max_memory);
    for (const std::string& warning : warnings_) context_.log(Severity::Warning, warning);
    if (job_.dry_run) {
      check_disk_space(job_.target, layout_.output_bytes);
      return report(nullptr);
    }
    Json identity = job_identity(job_, context_, source_);
    identity.set("model-free", true);
    identity.set("max-shard-size", job_.max_shard_size.bytes);
    const std::vector<io::TensorSpec> tensors = layout_.tensors();
    identity.set("output layout", digest_of(tensors));
    std::vector<ModuleReport> modules;
    return JournaledRun(job_, context_, source_)
        .run(
            identity, tensors, [&](checkpoint::Writer& writer, Steps& steps) { return write(writer, steps); }, modules);
  }

  ModelFreePlan plan() const {
    ModelFreePlan out{.plan = plan_,
                      .model_type = reader_.config().get_string("model_type", ""),
                      .parameters = 0,
                      .warnings = warnings_};
    for (const io::TensorSpec& spec : reader_.tensors())
      out.parameters += std::accumulate(spec.shape.begin(), spec.shape.end(), int64_t{1}, std::multiplies<>());
    return out;
  }

 private:
  Json write(checkpoint::Writer& writer, Steps& steps) {
    FreeWork work(reader_, layout_, assignment_, context_, clock_);
    {
      const auto timed = clock_.time("quantize and write");
      work.write(writer, steps);
    }
    {
      const auto timed = clock_.time("sync and check files");
      sync_and_check(work, writer);
    }
    const Json out = report(&work);
    write_texts(job_, out, writer);
    source_.check_unchanged();
    writer.finish();
    return out;
  }

  void assign() {
    std::vector<model::ModuleInfo> infos;
    for (const SourceModule& module : modules_.modules) infos.push_back(module.info);
    try {
      assignment_ = assign_schemes(job_.chain, infos, modules_.tied_embeddings, {});
    } catch (Error& e) {
      if (!job_.recipe_file.empty()) e.add_context(job_.recipe_file);
      throw;
    }
    warnings_ = source_.warnings();
    warnings_.insert(warnings_.end(), modules_.warnings.begin(), modules_.warnings.end());
    warnings_.insert(warnings_.end(), assignment_.warnings.begin(), assignment_.warnings.end());
    add_warnings_of_readers(assignment_, reader_.config().get_string("model_type", ""), warnings_);
    // Readers must find the head of a tied model ignored, and one of another name by the name that transformers gives
    // every head. In a model with none the name says nothing.
    if (!modules_.has_embedding)
      std::erase_if(assignment_.ignore, [&](const std::string& name) { return !stores_weight(name); });
  }

  bool stores_weight(const std::string& module) const {
    return reader_.find(module + ".weight") != nullptr || module != "lm_head";
  }

  // The disk is busy with the last pages while the processors read the files back.
  void sync_and_check(FreeWork& work, checkpoint::Writer& writer) {
    std::exception_ptr failure;
    std::thread syncing([&] {
      try {
        const TraceSpan span(context_.trace, "sync", Trace::Kind::Disk);
        writer.close_shards();
        write_side_files(source_, reader_.config(), merged_config(existing_, modules_, assignment_), job_.saved_recipe,
                         writer);
      } catch (...) {
        failure = std::current_exception();
      }
    });
    try {
      work.check(writer.temporary());
    } catch (...) {
      syncing.join();
      throw;
    }
    syncing.join();
    if (failure) std::rethrow_exception(failure);
    const checkpoint::Reader output(writer.temporary());  // headers against index, config.json
    SWAGE_CHECK(output.tensors().size() == layout_.tensors().size(), Internal, "self-check: the output has ",
                output.tensors().size(), " tensors");
  }

  // One stage: what is read, quantized and written, and what is read back of it, goes on at the same time.
  void make_plan() {
    PlanStage stage{.name = "quantize", .at = {}, .parts = {}, .work = {}};
    plan_.source_bytes = layout_.source_bytes;
    plan_.output_bytes = layout_.output_bytes;
    size_t tensors = reader_.tensors().size();
    for (const FreeItem& item : layout_.items) {
      tensors += item.outputs.size();
      if (item.scheme == nullptr) continue;
      const model::ModuleInfo& module = item.module->info;
      const modifiers::LinearShape shape{module.rows, module.columns,
                                         item.scheme->weights ? &*item.scheme->weights : nullptr};
      stage.work.moved_bytes += sizeof(float) * assignment_.quantizer_of(module.name).cost({&shape, 1}, {}).passes;
      ++plan_.quantized_modules;
      plan_.quantized_parameters += module.rows * module.columns;
    }
    plan_.bits_per_weight =
        8.0 * double(layout_.quantized_bytes) / double(std::max<int64_t>(1, plan_.quantized_parameters));
    const auto process = kBaseBytes + uint64_t(process_bytes(at::get_num_threads(), 0, 0, 0) - kProcessBytes);
    stage.parts = {{"process", process},
                   {"names and shapes", tensors * kBytesPerTensor},
                   {"buffers", uint64_t(at::get_num_threads()) * kBuffers * layout_.largest_chunk_bytes}};
    stage.work.read_bytes = layout_.source_bytes + layout_.output_bytes;
    stage.work.written_bytes = layout_.output_bytes;
    plan_.peak_bytes = stage.host_bytes();
    plan_.stages = {std::move(stage)};
  }

  // `work` is null for a dry run.
  Json report(const FreeWork* work) const {
    Json out = Json::object();
    out.set("swage", kVersion);
    out.set("source", source_.name());
    out.set("model_type", reader_.config().get_string("model_type", ""));
    out.set("model_free", true);
    out.set("modifier", job_.chain.text());
    out.set("seed", int64_t(context_.seed));
    out.set("device", "cpu");
    out.set("threads", int64_t(at::get_num_threads()));
    out.set("plan", plan_.to_json());
    if (work == nullptr) return out;
    out.set("seconds", clock_.total_seconds());
    out.set("stage_seconds", clock_.to_json());
    out.set("peak_rss_bytes", peak_rss_bytes());
    add_provenance(job_, context_.seed, layout_.tensors(), out);
    out.set("errors_measured_on", cat("one row in ", kErrorRows));
    Json warnings = Json::array(), modules = Json::array();
    for (const std::string& warning : warnings_) warnings.push_back(warning);
    for (size_t i = 0; i < layout_.items.size(); ++i) {
      const FreeItem& item = layout_.items[i];
      if (item.scheme == nullptr) continue;
      const auto [difference, whole] = work->error_of(i);
      ModuleReport module;
      module.name = item.module->info.name;
      module.scheme = assignment_.scheme_names[assignment_.scheme_of.at(module.name)];
      module.loss = difference;
      module.relative_error = whole > 0 ? std::sqrt(difference / whole) : 0;
      modules.push_back(module.to_json());
    }
    out.set("warnings", std::move(warnings));
    out.set("modules", std::move(modules));
    return out;
  }

  const CompressJob& job_;
  const Context& context_;
  const Source source_;
  const checkpoint::Reader& reader_;
  const std::optional<scheme::QuantizationConfig> existing_;
  const SourceModules modules_;
  Assignment assignment_;
  std::vector<std::string> warnings_;
  FreeLayout layout_;
  Plan plan_;
  StageClock clock_{context_.trace};
};

}  // namespace

bool knows_architecture(const std::filesystem::path& source) {
  const std::string type = checkpoint::Reader(source).config().get_string("model_type", "");
  const std::vector<std::string> known = model::supported_model_types();
  return std::binary_search(known.begin(), known.end(), type);
}

bool runs_model_free(const CompressJob& job, const std::string& architecture) {
  if (job.model_free) return true;
  if (!architecture.empty() || job.chain.calibrating() != nullptr || !job.data_file.empty()) return false;
  return !knows_architecture(job.source);
}

ModelFreePlan plan_model_free(const CompressJob& job, const Context& context) { return ModelFree(job, context).plan(); }

Json run_model_free(const CompressJob& job, const Context& context) { return ModelFree(job, context).run(); }

}  // namespace swage::pipeline
