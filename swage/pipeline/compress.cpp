#include "swage/pipeline/compress.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>
#include <limits>
#include <optional>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/base/version.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/shard_layout.h"
#include "swage/format/weight_source.h"
#include "swage/job/answers.h"
#include "swage/job/identity.h"
#include "swage/job/journaled_run.h"
#include "swage/job/output_place.h"
#include "swage/job/output_texts.h"
#include "swage/job/self_check.h"
#include "swage/job/text.h"
#include "swage/model/model.h"
#include "swage/model/unread_tensors.h"
#include "swage/offload/rows.h"
#include "swage/ops/device.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/plan/make_plan.h"
#include "swage/plan/placement.h"
#include "swage/plan/plan_time.h"
#include "swage/resolve/bit_budget.h"
#include "swage/resolve/output.h"
#include "swage/resolve/quantized_source.h"
#include "swage/schedule/bit_sensitivity.h"
#include "swage/schedule/data_free.h"
#include "swage/schedule/owl.h"
#include "swage/schedule/sequential.h"
#include "swage/shards/model_free.h"
#include "swage/views/expert_report.h"
#include "swage/views/pruned_experts.h"
#include "swage/views/rotated_weights.h"

namespace swage::pipeline {
namespace {

constexpr const char* kCopied = "tensors that are copied";
constexpr const char *kBitCosts = "bit costs", *kOutputLayout = "output layout";  // of a run's identity
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
        weights_(reader_, ops::to_torch(context.device), {.weights_only = true}),
        source_model_(model::make_model(reader_.config(), weights_, ops::to_torch(context.device))),
        model_(source_model_) {
    check_no_transforms(weights_, job.source, "compress");
    check_shapes(reader_, weights_, *model_);
    if (job.chain.rotator != nullptr) rotate(*job.chain.rotator);
    if (job.chain.expert_pruner != nullptr) prune_experts(*job.chain.expert_pruner);
    assignment_ = assign_schemes_of(job, *model_, reader_.config());
    check_requantization(weights_, assignment_, context);
    ignore_side_modules(reader_, *model_, assignment_);
    const int64_t positions = model_->max_positions();
    SWAGE_CHECK(positions == 0 || job.max_seq_length <= positions || job.data_file.empty(), InvalidArgument,
                "max-seq-length ", job.max_seq_length, ": the model takes ", positions, " tokens");
    SWAGE_CHECK(!assignment_.budget || !experts_, Unsupported, job.chain.text(),
                ": a bit budget is measured on the model as it is; prune its experts in a run before");
    if (assignment_.budget) {  // refuses what cannot be reached before any text is read
      units_ = budget_units(assignment_, model_->modules(),
                            [&](const std::string& module) { return stored_dtype(reader_, module); });
      costs_ = costs_of_shapes(assignment_, units_);
      choose_bits();
    }
    lay_out();
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
    SWAGE_CHECK(!assignment_.budget || !job_.data_file.empty(), InvalidArgument,
                "a bit budget needs calibration text: give a data file (-d FILE)");
    Text text;
    {
      const auto timed = clock_.time("read text");
      text = read_text(job_, calibrates() || assignment_.budget, context_);
    }
    release_free_memory();  // the tokenizer's tables
    check_vocabulary(job_, text, model_->vocabulary_size());
    plan(text);
    if (job_.dry_run) {
      check_disk_space(job_.target, layout_.bytes);
      return report(text);
    }
    const JournaledRun journaled(job_, context_, source_);
    checkpoint::OutputFolder folder = journaled.open_folder();
    if (assignment_.budget) measure_bits(text);
    return journaled.run(
        std::move(folder), identity_of(text), layout_.tensors,
        [&](checkpoint::Writer& writer, Steps& steps) { return write(text, writer, steps); }, modules_);
  }

  // From here on the model is the rotated one.
  void rotate(const modifiers::Rotator& rotator) {
    check_rotatable(weights_.encoded_modules(), job_.source.string());
    rotated_ = std::make_unique<RotatedWeights>(weights_, *model_, rotator.request(), context_.seed);
    model_ = model::make_model(config(), *rotated_, ops::to_torch(context_.device));
  }

  // From here on the model is the one with fewer experts.
  void prune_experts(const modifiers::ExpertPruner& pruner) {
    check_prunable(weights_.encoded_modules(), job_.source.string());
    if (pruner.report_path()) check_report_place(*pruner.report_path());
    experts_ = std::make_unique<PrunedExperts>(weights_, *source_model_, pruner);
    experts_->check(reader_);
    model_ = model::make_model(config(), *experts_, ops::to_torch(context_.device));
  }

  const OnlineRotations* online() const { return rotated_ ? &rotated_->online() : nullptr; }

  // The model's weights and config.
  const checkpoint::WeightSource& values() const {
    if (experts_) return *experts_;
    return rotated_ ? static_cast<const checkpoint::WeightSource&>(*rotated_) : weights_;
  }
  Json config() const {
    if (experts_) return config_of_pruned(reader_.config(), *experts_);
    return rotated_ ? config_of_rotated(reader_.config(), *rotated_) : reader_.config();
  }

  OutputLayout layout_of(const Assignment& assignment) const {
    std::set<std::string> rewritten = rescalings_.rewritten;
    rewritten.insert(sparsity_.rewritten.begin(), sparsity_.rewritten.end());
    if (experts_) {
      rewritten.merge(experts_->rewritten());
      OutputLayout layout = output_layout(reader_, weights_, *model_, assignment, rewritten);
      experts_->lay_out(layout);
      return layout;
    }
    if (!rotated_) return output_layout(reader_, weights_, *model_, assignment, rewritten);
    std::vector<io::TensorSpec> fresh;  // the head of a model that was tied
    for (const auto& [name, spec] : dense_rotated(reader_, *rotated_, assignment)) {
      const bool is_new = reader_.find(name) == nullptr;
      SWAGE_CHECK(!is_new || !rewritten.contains(name), Unsupported, name,
                  ": the rotation makes it from the embedding, and it cannot be pruned as well; add it to ignore");
      if (is_new)
        fresh.push_back(spec);
      else
        rewritten.insert(name);
    }
    fresh.insert(fresh.end(), online()->tensors().begin(), online()->tensors().end());
    OutputLayout layout = output_layout(reader_, weights_, *model_, assignment, rewritten);
    for (io::TensorSpec& spec : fresh) {
      layout.bytes += io::data_bytes(spec);
      layout.tensors.push_back(std::move(spec));
    }
    return layout;
  }

  // What follows from the assignment.
  void lay_out() {
    rescalings_ = resolve_rescalings(job_.chain, *model_, assignment_, online());
    sparsity_ = resolve_sparsity(job_.chain, *model_, assignment_);
    SWAGE_CHECK(!experts_ || !needs_owl(sparsity_), Unsupported, job_.chain.text(),
                ": owl looks at the model as it is; prune its experts in a run before");
    layout_ = layout_of(assignment_);
    if (rotated_) rotated_->round_to(rotated_types());
  }

  // Types of the tensors that nothing but the rotation changes.
  std::map<std::string, at::ScalarType> rotated_types() const {
    std::map<std::string, at::ScalarType> out;
    const std::map<std::string, io::TensorSpec> dense = dense_rotated(reader_, *rotated_, assignment_);
    for (const io::TensorSpec& spec : layout_.tensors) {
      const bool changes_again = rescalings_.rewritten.contains(spec.name) || sparsity_.rewritten.contains(spec.name);
      if (dense.contains(spec.name) && !changes_again) out[spec.name] = checkpoint::scalar_type_of(spec.dtype);
    }
    return out;
  }

  void choose_bits() {
    const auto files = [&](const Assignment& assignment) {
      return checkpoint::plan_shards(layout_of(assignment).tensors, job_.shard_bytes).file_bytes();
    };
    outcome_ = keep_to_budget(units_, costs_, files, assignment_);
  }

  // What an interrupted run of the same job measured, so that it need not be again.
  std::optional<BudgetCosts> kept_costs(const Text& text) const {
    const std::optional<Json> kept = identity_of_unfinished(job_);
    if (!kept || kept->find(kBitCosts) == nullptr) return {};
    Json same = Json::object();
    for (const auto& [name, value] : kept->as_object()) {
      if (name != kBitCosts && name != kOutputLayout) same.set(name, value);
    }
    if (!difference(same, identity_of_input(text)).empty()) return {};
    return costs_from_json(kept->at(kBitCosts), units_);
  }

  // Chooses again, by what the errors of the candidates do to the model.
  void measure_bits(const Text& text) {
    if (const std::optional<BudgetCosts> kept = kept_costs(text)) {
      costs_ = *kept;
    } else {
      SensitivityJob job{*model_,        reader_,  values(), assignment_,
                         units_,         context_, clock_,   tiers(measuring_folder()),
                         job_.moe_routed};
      costs_ = measure_costs(job, text.ids_NL, probed_candidate(units_, outcome_.budget_bytes));
    }
    choose_bits();
    const uint64_t planned_bytes = layout_.bytes;
    lay_out();
    plan_.output_bytes = layout_.bytes;
    plan_.bits_per_weight += 8 * (double(layout_.bytes) - double(planned_bytes)) / double(plan_.quantized_parameters);
    context_.log(Severity::Info, budget_summary(assignment_, outcome_));
  }

  // The same before there is an output folder: beside where it will be.
  std::filesystem::path measuring_folder() const {
    if (plan_.rows_in_file == 0 || !job_.offload_folder.empty()) return job_.offload_folder;
    std::filesystem::path folder = std::filesystem::absolute(job_.target).parent_path();
    while (!std::filesystem::is_directory(folder) && folder.has_relative_path()) folder = folder.parent_path();
    offload::check_folder(folder);
    return folder;
  }

  // Where activations that lie in a file do.
  std::filesystem::path offload_folder(const checkpoint::Writer& writer) const {
    if (plan_.rows_in_file == 0 || !job_.offload_folder.empty()) return job_.offload_folder;
    offload::check_folder(writer.work());
    return writer.work();
  }

  offload::Tiers tiers(const std::filesystem::path& folder) const { return {folder, plan_.rows - plan_.rows_in_file}; }

  Json write(const Text& text, checkpoint::Writer& writer, Steps& steps) {
    if (needs_owl(sparsity_)) {
      const auto timed = clock_.time("owl");
      find_owl_shares(*model_, values(), text.ids_NL, context_, tiers(offload_folder(writer)), sparsity_);
    }
    const Run run{context_, reader_,  values(), *model_, assignment_,    rescalings_,    sparsity_, writer,
                  clock_,   modules_, steps,    memory_, rotated_.get(), experts_.get(), &progress_};
    if (!steps.finished(kCopied)) {
      const auto timed = clock_.time("copy untouched");
      copy_untouched(reader_, layout_, writer);
      write_dequantized(reader_, weights_, layout_, writer);
      steps.finish(kCopied);
    }
    if (rotated_ && !steps.finished(kRotated)) {
      const auto timed = clock_.time("rotate");
      for (const auto& [name, type] : rotated_types()) writer.put(name, rotated_->load(name).to(at::kCPU, type));
      online()->write(writer);
      steps.finish(kRotated);
    }
    if (calibrates()) {
      run_sequential(run, text.ids_NL, {.moe_routed = job_.moe_routed, .tiers = tiers(offload_folder(writer))});
    } else {
      run_data_free(run);
    }
    write_side_files(source_, config(), assignment_, rotated_ ? online()->groups() : scheme::TransformGroups(),
                     job_.saved_recipe, writer);
    {
      const auto timed = clock_.time("sync");
      writer.close_shards();
    }
    check(text, writer);
    const Json out = report(text);
    write_texts(job_, out, writer);
    source_.check_unchanged();
    writer.finish();
    if (experts_ && experts_->by().report_path())
      write_expert_report(*experts_->by().report_path(), out.at("expert_pruning"));
    return out;
  }

  Json identity_of(const Text& text) const {
    Json out = identity_of_input(text);
    if (assignment_.budget) out.set(kBitCosts, to_json(costs_));
    out.set(kOutputLayout, digest_of(layout_.tensors));
    return out;
  }

  Json identity_of_input(const Text& text) const {
    Json out = job_identity(job_, context_, source_);
    out.set("device", ops::describe(ops::to_torch(context_.device)));
    out.set("products", c10::toString(ops::product_type(ops::to_torch(context_.device))));
    out.set("max-shard-size", job_.shard_bytes);
    out.set("moe-routed", job_.moe_routed);
    out.set("calibration text", digest_of(text.ids_NL));
    out.set("held-out text", digest_of(text.windows_NL));
    return out;
  }

  bool calibrates() const { return job_.chain.calibrating() != nullptr || assignment_.needs_calibration(); }

  void plan(const Text& text) {
    const bool calibrated = text.ids_NL.defined();
    const model::ModelShape shape = model_->shape(), whole = source_model_->shape();
    PlanInput in{.shape = shape, .assignment = assignment_, .sparsity = sparsity_, .chain = job_.chain};
    fill_sizes(in);
    in.rows = calibrated ? text.ids_NL.size(0) : 0;
    in.row_tokens = calibrated ? text.ids_NL.size(1) : 0;
    in.moe_routed = job_.moe_routed;
    in.rotates = rotated_ != nullptr;
    in.whole = experts_ ? &whole : nullptr;
    in.keeps_activations = job_.resume;
    in.check_tokens = job_.check && text.windows_NL.defined() ? text.windows_NL.numel() : 0;
    in.threads = at::get_num_threads();
    in.process_bytes =
        process_bytes(in.threads, in.row_tokens, widest_linear(shape).columns, widest_linear(shape).rows);
    in.on_device = !ops::to_torch(context_.device).is_cpu();
    const bool all_in_file =
        !job_.offload_folder.empty() && (job_.max_memory_bytes == 0 || !may_offload(job_.device_map));
    if (all_in_file && !in.on_device) in.rows_in_memory = 0;
    const Placement placement(job_.device_map, job_.max_memory_bytes);
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
    calibration_warnings_ =
        calibration_warnings(text, plan_.work().gram_flops > 0 ? widest_input(assignment_, model_->modules()) : 0);
    for (const std::string& warning : warnings()) context_.log(Severity::Warning, warning);
  }

  // Of what was asked for.
  std::vector<std::string> warnings() const {
    std::vector<std::string> out = source_.warnings();
    const auto is_known = [this](const std::string& name) { return weights_.describes_quantization(name); };
    if (const std::string unread =
            model::unread_warning(model::unread_tensors(*source_model_, reader_.tensors(), is_known));
        !unread.empty())
      out.push_back(unread);
    for (const auto* more : {&job_.chain.warnings, &assignment_.warnings, &sparsity_.warnings, &rescalings_.warnings,
                             &calibration_warnings_}) {
      out.insert(out.end(), more->begin(), more->end());
    }
    if (experts_) out.insert(out.end(), experts_->warnings().begin(), experts_->warnings().end());
    add_warnings_of_readers(assignment_, out);
    if (rotated_) std::ranges::copy(online()->warnings(), std::back_inserter(out));
    return out;
  }

  void fill_sizes(PlanInput& in) const {
    for (const io::TensorSpec& spec : reader_.tensors()) in.source_bytes += io::data_bytes(spec);
    in.output_bytes = layout_.bytes;
    const auto add_copied = [&in](uint64_t bytes) {
      in.copied_bytes += bytes;
      in.largest_copied_bytes = std::max(in.largest_copied_bytes, bytes);
    };
    for (const std::string& name : layout_.copied) add_copied(io::data_bytes(*reader_.find(name)));
    const double dense =
        double(io::data_bytes({"", dense_dtype(reader_), {1}}));  // what the source holds quantized is smaller
    in.bytes_per_weight = std::min(dense, double(in.source_bytes) / double(source_model_->shape().parameters()));
    if (experts_) {  // slices and renumbered ones are copied too, though later
      const std::set<std::string> moved = experts_->rewritten();
      for (const io::TensorSpec& spec : layout_.tensors) {
        const bool quantized = assignment_.find(spec.name.substr(0, spec.name.rfind('.'))) != nullptr;
        if (moved.contains(spec.name) && !quantized) add_copied(io::data_bytes(spec));
      }
    }
    if (!rotated_) return;
    const auto types = rotated_types();
    for (const io::TensorSpec& spec : layout_.tensors) {
      if (types.contains(spec.name)) add_copied(io::data_bytes(spec));
    }
    in.copied_bytes += online()->bytes();
    in.rotated_inputs = online()->inputs();
    in.rotated_outputs = online()->outputs();
  }

  void check(const Text& text, const checkpoint::Writer& writer) {
    {
      const auto timed = clock_.time("check files");
      check_files(writer.temporary(), modules_);
    }
    if (!job_.check || !text.windows_NL.defined()) return;
    const auto timed = clock_.time("check perplexity");
    const Context told = told_of_checking(context_, progress_, clock_);
    const double most_nats =
        sparsity_.of_module.empty() && !experts_ ? kCorruptionNats : std::numeric_limits<double>::infinity();
    check_ = check_perplexity(*source_model_, weights_, writer.temporary(), text.windows_NL, told, most_nats);
    check_.set("held_out", text.held_out);
    const int64_t tokens = text.ids_NL.defined() ? text.ids_NL.numel() : 0;
    if (answers_are_cheap(plan_.source_bytes, tokens))
      answers_ = compare_answers(*source_model_, weights_, job_.source, writer.temporary(), context_);
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
    add_provenance(job_, context_.seed, layout_.tensors, out);
    if (assignment_.budget) out.set("bit_budget", budget_report(assignment_, units_, costs_, outcome_));
    if (experts_) out.set("expert_pruning", expert_report(*experts_, modules_));
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
  const format::CheckpointWeights weights_;
  const std::shared_ptr<model::Model> source_model_;
  std::unique_ptr<RotatedWeights> rotated_;  // of a recipe with rotations
  std::unique_ptr<PrunedExperts> experts_;   // of a recipe that takes some out
  std::shared_ptr<model::Model> model_;  // what is compressed: the source's, or the same rotated, or with fewer experts
  Assignment assignment_;
  std::vector<BudgetUnit> units_;  // of its bit budget
  BudgetCosts costs_;
  BudgetOutcome outcome_;
  Rescalings rescalings_;
  Sparsity sparsity_;
  OutputLayout layout_;
  Plan plan_;
  RunProgress progress_;
  StageClock clock_{context_.trace};
  MemoryGuard memory_{job_.max_memory_bytes, context_};
  std::vector<ModuleReport> modules_;
  Json check_, answers_;
  std::vector<std::string> calibration_warnings_;
};

// An architecture that swage does not run can still be compressed.
std::unique_ptr<Compression> open_compression(const CompressJob& job, const Context& context) {
  try {
    return std::make_unique<Compression>(job, context);
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::Unsupported || knows_architecture(job.source)) throw;
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
    if (runs_model_free(job)) return run_model_free(job, context);
    return open_compression(job, context)->run();
  } catch (Error& e) {
    say_what_is_kept(job, e);
    throw;
  }
}

}  // namespace swage::pipeline
