#include "swage/pipeline/compress.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/base/version.h"
#include "swage/checkpoint/reader.h"
#include "swage/job/answers.h"
#include "swage/job/identity.h"
#include "swage/job/journaled_run.h"
#include "swage/job/output_place.h"
#include "swage/job/output_texts.h"
#include "swage/job/self_check.h"
#include "swage/job/text.h"
#include "swage/model/model.h"
#include "swage/offload/rows.h"
#include "swage/ops/device.h"
#include "swage/pipeline/bit_costs.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/pipeline/resolved.h"
#include "swage/plan/make_plan.h"
#include "swage/plan/placement.h"
#include "swage/plan/plan_time.h"
#include "swage/plan/process_memory.h"
#include "swage/resolve/bit_budget.h"
#include "swage/resolve/output.h"
#include "swage/resolve/quantized_source.h"
#include "swage/schedule/data_free.h"
#include "swage/schedule/owl.h"
#include "swage/schedule/sequential.h"
#include "swage/shards/model_free.h"
#include "swage/views/expert_report.h"
#include "swage/views/pruned_experts.h"

namespace swage::pipeline {
namespace {

constexpr const char* kCopied = "tensors that are copied";
constexpr const char* kRotated = "tensors that are rotated and stay dense";
constexpr double kWorthMeasuring = 2e12;  // FLOP: a run of some ten seconds, of which measuring the machine takes
constexpr double kMeasureSeconds = 0.3;

class Compression {
 public:
  Compression(const CompressJob& job, const Context& context)
      : job_(job),
        context_(context),
        source_(job.source),
        reader_(source_.reader()),
        resolved_(job, reader_, context, ops::to_torch(context.device)) {
    if (resolved_.views().experts() != nullptr && resolved_.views().experts()->by().report_path())
      check_report_place(*resolved_.views().experts()->by().report_path());
    const int64_t positions = resolved_.model().max_positions();
    SWAGE_CHECK(positions == 0 || job.max_seq_length <= positions || job.data_file.empty(), InvalidArgument,
                "max-seq-length ", job.max_seq_length, ": the model takes ", positions, " tokens");
  }

  Json run() {
    if (device_.is_cpu()) return run_all();
    clock_.settle_by([this] { settle(); });
    try {
      return run_all();
    } catch (const c10::OutOfMemoryError& e) {
      throw Error(
          ErrorKind::InvalidArgument,
          cat("the GPU's memory ran out in stage \"", clock_.latest(), "\" (planned: ", plan_.device_peak_bytes >> 20,
              " MiB, held at most: ", ops::peak_device_bytes(device_) >> 20,
              " MiB); fewer or shorter calibration rows (--num-calibration-samples, --max-seq-length) take less"));
    }
  }

 private:
  Json run_all() {
    SWAGE_CHECK(!resolved_.assignment().budget || !job_.data_file.empty(), InvalidArgument,
                "a bit budget needs calibration text: give a data file (-d FILE)");
    check_can_calibrate();
    Text text;
    {
      const auto timed = clock_.time("read text");
      text = read_text(job_, resolved_.calibrates() || resolved_.assignment().budget, context_);
    }
    text_bytes_ = double(peak_rss_bytes());
    release_free_memory();  // the tokenizer's tables
    check_vocabulary(job_, text, resolved_.model().vocabulary_size());
    plan(text);
    if (job_.dry_run) {
      check_disk_space(job_.target, resolved_.layout().bytes);
      return report(text);
    }
    const JournaledRun journaled(job_, context_, source_);
    checkpoint::OutputFolder folder = journaled.open_folder();
    if (resolved_.assignment().budget) measure_bits(text, folder);
    return journaled.run(
        std::move(folder), identity_of(text), resolved_.layout().tensors,
        [&](checkpoint::Writer& writer, Steps& steps) { return write(text, writer, steps); }, modules_);
  }

  void check_can_calibrate() const {
    const graph::ModelProgram& program = resolved_.source_model().program();
    SWAGE_CHECK(!program.target || (!resolved_.calibrates() && !resolved_.assignment().budget), Unsupported,
                job_.chain.text(),
                ": the model is an encoder-decoder, which is not calibrated; --method rtn with a "
                "scheme that needs no data compresses it");
    const bool predicts = program.predicts == graph::Predicts::Next || program.predicts == graph::Predicts::Masked;
    SWAGE_CHECK(predicts || !resolved_.assignment().budget, Unsupported, job_.chain.text(),
                ": a bit budget is measured by what the model predicts of tokens, and this one has no such head");
  }

  // Chooses again, by what the errors of the candidates do to the model.
  void measure_bits(const Text& text, checkpoint::OutputFolder& folder) {
    const uint64_t planned_bytes = resolved_.layout().bytes;
    resolved_.choose_bits_by(measured_costs(text, folder));
    plan_.output_bytes = resolved_.layout().bytes;
    plan_.bits_per_weight +=
        8 * (double(plan_.output_bytes) - double(planned_bytes)) / double(plan_.quantized_parameters);
    context_.log(Severity::Info, budget_summary(resolved_.assignment(), resolved_.outcome()));
  }

  BudgetCosts measured_costs(const Text& text, checkpoint::OutputFolder& folder) {
    const PlanInput planned = measured_part(resolved_.plan_input(text.ids_NL.size(0), text.ids_NL.size(1)));
    const SensitivityJob measuring{float_pass(planned, folder.work()), resolved_.assignment(), resolved_.units()};
    return bit_costs(job_, source_, identity_of_input(text), measuring, text.ids_NL,
                     probed_candidate(resolved_.units(), resolved_.outcome().budget_bytes), folder);
  }

  // Where activations that lie in a file do; `work` is the run's own folder.
  std::filesystem::path offload_folder(const std::filesystem::path& work) const {
    if (plan_.rows_in_file == 0 || !job_.offload_folder.empty()) return job_.offload_folder;
    offload::check_folder(work);
    return work;
  }

  offload::Tiers tiers(const std::filesystem::path& folder) const { return {folder, plan_.rows - plan_.rows_in_file}; }

  // A pass that measures before anything is written; `work` is the run's own folder.
  FloatPassJob float_pass(const PlanInput& planned, const std::filesystem::path& work) {
    return {resolved_.model(),           reader_,    resolved_.values(), context_, clock_, planned,
            tiers(offload_folder(work)), &progress_, job_.watch};
  }

  Json write(const Text& text, checkpoint::Writer& writer, Steps& steps) {
    if (needs_owl(resolved_.sparsity())) {
      const PlanInput planned = resolved_.plan_input(text.ids_NL.size(0), text.ids_NL.size(1));
      find_owl_shares(float_pass(planned, writer.work()), text.ids_NL, resolved_.sparsity());
    }
    const Run run{context_,
                  reader_,
                  resolved_.values(),
                  resolved_.model(),
                  resolved_.assignment(),
                  resolved_.rescalings(),
                  resolved_.sparsity(),
                  writer,
                  clock_,
                  modules_,
                  steps,
                  memory_,
                  resolved_.views().rotated(),
                  resolved_.views().experts(),
                  &progress_};
    write_dense(writer, steps);
    if (resolved_.calibrates()) {
      const PlanInput planned = resolved_.plan_input(text.ids_NL.size(0), text.ids_NL.size(1));
      run_sequential(
          run, text.ids_NL, planned,
          {.moe_routed = job_.moe_routed, .tiers = tiers(offload_folder(writer.work())), .watch = job_.watch});
    } else {
      run_data_free(run, resolved_.plan_input(0, 0));
    }
    const OnlineRotations* online = resolved_.views().online();
    write_side_files(source_, resolved_.config(), resolved_.assignment(),
                     online != nullptr ? online->groups() : scheme::TransformGroups(), job_.saved_recipe, writer);
    {
      const auto timed = clock_.time("sync");
      writer.close_shards();
    }
    check(text, writer);
    const Json out = report(text);
    write_texts(job_, out, writer);
    source_.check_unchanged();
    writer.finish();
    if (const PrunedExperts* experts = resolved_.views().experts(); experts != nullptr && experts->by().report_path())
      write_expert_report(*experts->by().report_path(), out.at("expert_pruning"));
    return out;
  }

  // What no solver changes: copied, dequantized or turned.
  void write_dense(checkpoint::Writer& writer, Steps& steps) {
    if (!steps.finished(kCopied)) {
      const auto timed = clock_.time("copy untouched");
      copy_untouched(reader_, resolved_.layout(), writer);
      write_dequantized(reader_, resolved_.weights(), resolved_.layout(), writer);
      steps.finish(kCopied);
    }
    if (resolved_.views().rotated() == nullptr || steps.finished(kRotated)) return;
    const auto timed = clock_.time("rotate");
    for (const auto& [name, type] : resolved_.views().written())
      writer.put(name, resolved_.values().load(name).to(at::kCPU, type));
    resolved_.views().online()->write(writer);
    steps.finish(kRotated);
  }

  Json identity_of(const Text& text) const {
    Json out = identity_of_input(text);
    if (resolved_.assignment().budget) out.set(kBitCosts, to_json(resolved_.costs()));
    out.set(kOutputLayout, digest_of(resolved_.layout().tensors));
    return out;
  }

  Json identity_of_input(const Text& text) const {
    Json out = job_identity(job_, context_, source_);
    out.set("device", ops::describe(ops::to_torch(context_.device)));
    out.set("products", c10::toString(ops::product_type(ops::to_torch(context_.device))));
    out.set("max-shard-size", job_.max_shard_size.bytes);
    out.set("moe-routed", job_.moe_routed);
    out.set("calibration text", digest_of(text.ids_NL));
    out.set("held-out text", digest_of(text.windows_NL));
    return out;
  }

  void plan(const Text& text) {
    const bool calibrated = text.ids_NL.defined();
    PlanInput in = resolved_.plan_input(calibrated ? text.ids_NL.size(0) : 0, calibrated ? text.ids_NL.size(1) : 0);
    in.check_tokens = job_.check && text.windows_NL.defined() ? text.windows_NL.numel() : 0;
    in.process_bytes =
        process_bytes(in.threads, in.row_tokens, widest_linear(in.shape).columns, widest_linear(in.shape).rows);
    in.text_bytes = text_bytes_;
    in.on_device = !ops::to_torch(context_.device).is_cpu();
    const bool all_in_file = !job_.offload_folder.empty() && (job_.max_memory == 0 || !may_offload(job_.device_map));
    if (all_in_file && !in.on_device) in.rows_in_memory = 0;
    const Placement placement(job_.device_map, job_.max_memory);
    plan_ = placement.plan(in);
    const bool timed = plan_.rows > 0 && plan_.work().flops() > kWorthMeasuring;
    if (timed)
      context_.log(Severity::Info,
                   tell_time(plan_, in, placement, measure_rates(job_.source, {}, kMeasureSeconds, device_)));
    context_.log(Severity::Info, plan_.summary());
    placement.check(plan_, in);
    if (job_.device_map != DeviceMap::None) context_.log(Severity::Info, placement.text(plan_, in.on_device));
    progress_.plan(plan_.shares());
    release_free_memory();  // what measuring took
    context_.log(Severity::Info, plan_.memory_summary());
    if (calibrated) context_.log(Severity::Info, "calibration: " + text.summary());
    calibration_warnings_ = calibration_warnings(
        text, plan_.work().gram_flops > 0 ? widest_input(resolved_.assignment(), resolved_.model().modules()) : 0);
    for (const std::string& warning : warnings()) context_.log(Severity::Warning, warning);
  }

  // Of what was asked for.
  std::vector<std::string> warnings() const {
    std::vector<std::string> out = source_.warnings();
    for (const auto& more : {resolved_.warnings(), calibration_warnings_})
      out.insert(out.end(), more.begin(), more.end());
    return out;
  }

  void check(const Text& text, const checkpoint::Writer& writer) {
    {
      const auto timed = clock_.time("check files");
      check_files(writer.temporary(), modules_);
    }
    if (!job_.check || !text.windows_NL.defined()) return;
    const graph::ModelProgram& program = resolved_.source_model().program();
    if (!has_perplexity(program, text.masking)) return;
    const auto timed = clock_.time("check perplexity");
    const Context told = told_of_checking(context_, progress_, clock_);
    const double most_nats = resolved_.sparsity().of_module.empty() && resolved_.views().experts() == nullptr
                                 ? kCorruptionNats
                                 : std::numeric_limits<double>::infinity();
    check_ = check_perplexity(resolved_.source_model(), resolved_.weights(), writer.temporary(), text.windows_NL,
                              text.masking, told, most_nats);
    check_.set("held_out", text.held_out);
    const model::Model& model = resolved_.source_model();
    if (program.predicts == graph::Predicts::Next &&
        answers_fit(model, reader_.config(), plan_.source_bytes, plan_.peak_bytes))
      answers_ = compare_answers(reader_, writer.temporary(), program.architecture, context_);
  }

  Json report(const Text& text) const {
    Json out = Json::object();
    out.set("swage", kVersion);
    out.set("source", job_.source_id.empty() ? source_.name() : job_.source_id);
    out.set("model_type", reader_.config().get_string("model_type", ""));
    out.set("modifier", job_.chain.text());
    out.set("seed", int64_t(context_.seed));
    out.set("device", ops::to_torch(context_.device).str());
    if (job_.device_map != DeviceMap::None) out.set("device_map", to_string(job_.device_map));
    out.set("threads", int64_t(at::get_num_threads()));
    out.set("plan", plan_.to_json());
    out.set("calibration", text.to_json());
    if (job_.dry_run) return out;
    out.set("seconds", clock_.total_seconds());
    out.set("stage_seconds", clock_.to_json());
    out.set("peak_rss_bytes", peak_rss_bytes());
    if (!device_.is_cpu()) {
      out.set("device_name", ops::describe(device_));
      out.set("peak_device_bytes", ops::peak_device_bytes(device_));
    }
    if (!check_.is_null()) out.set("check", check_);
    if (!answers_.is_null()) out.set("answers", answers_);
    add_provenance(job_, context_.seed, resolved_.layout().tensors, out);
    if (resolved_.assignment().budget)
      out.set("bit_budget",
              budget_report(resolved_.assignment(), resolved_.units(), resolved_.costs(), resolved_.outcome()));
    if (resolved_.views().experts() != nullptr)
      out.set("expert_pruning", expert_report(*resolved_.views().experts(), modules_));
    Json modules = Json::array(), warnings = Json::array();
    for (const std::string& warning : this->warnings()) warnings.push_back(warning);
    for (const std::string& warning : memory_.warnings()) warnings.push_back(warning);
    for (const ModuleReport& module : modules_) {
      if (!module.experts) modules.push_back(module.to_json());
      for (const std::string& warning : module.warnings) warnings.push_back(cat(module.name, ": ", warning));
    }
    out.set("warnings", std::move(warnings));
    out.set("modules", std::move(modules));
    return out;
  }

  // In the destructors of a clock: an error shows again in the next thing that is asked of the device.
  void settle() const noexcept {
    try {
      ops::synchronize(device_);
    } catch (const Error&) {
    }
  }

  const CompressJob& job_;
  const Context& context_;
  const at::Device device_ = ops::to_torch(context_.device);
  const Source source_;
  const checkpoint::Reader& reader_;
  Resolved resolved_;
  double text_bytes_ = 0;
  Plan plan_;
  RunProgress progress_;
  StageClock clock_{context_.trace};
  MemoryGuard memory_{job_.max_memory, context_};
  std::vector<ModuleReport> modules_;
  Json check_, answers_;
  std::vector<std::string> calibration_warnings_;
};

// An architecture that swage does not run can still be compressed.
std::unique_ptr<Compression> open_compression(const CompressJob& job, const Context& context) {
  try {
    return std::make_unique<Compression>(job, context);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::Unsupported || !context.architecture.empty() || knows_architecture(job.source)) throw;
    throw Error(e.kind(),
                cat(e.what(), "; use --method rtn without -d: rounding without data works for any architecture"));
  }
}

}  // namespace

Json run_compress(const CompressJob& job, const Context& context) {
  SWAGE_CHECK(!job.target.empty(), InvalidArgument, "the output folder's name is empty");
  checkpoint::OutputFolder::tidy(job.target);
  check_folders(job, context);
  if (job.device_map == DeviceMap::Cuda) ops::to_torch(context.device);  // also of runs that would not touch it
  try {
    if (runs_model_free(job, context.architecture)) return run_model_free(job, context);
    return open_compression(job, context)->run();
  } catch (Error& e) {
    say_what_is_kept(job, e);
    throw;
  }
}

}  // namespace swage::pipeline
