#include "swage/pipeline/resolved.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "swage/base/error.h"
#include "swage/checkpoint/shard_layout.h"
#include "swage/job/output_texts.h"
#include "swage/model/decoder_model.h"
#include "swage/model/unread_tensors.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/resolve/quantized_source.h"
#include "swage/schedule/owl.h"

namespace swage::pipeline {
namespace {

// Of a program that cannot be run: nobody asks it for a forward pass.
std::shared_ptr<model::Model> model_of(const Json& config, const checkpoint::WeightSource& weights, at::Device device) {
  return std::make_shared<model::DecoderModel>(model::make_program(config, weights), device);
}

}  // namespace

Resolved::Resolved(const CompressJob& job, const checkpoint::Reader& reader, const Context& context, at::Device device)
    : job_(job),
      reader_(reader),
      context_(context),
      device_(device),
      weights_(reader, device, {.weights_only = true}),
      source_model_(model_of(reader.config(), weights_, device)),
      model_(source_model_) {
  check_no_transforms(weights_, job.source, "compress");
  if (runs()) check_shapes(reader, weights_, *model_);
  if (job.chain.rotator != nullptr) rotate(*job.chain.rotator);
  if (job.chain.expert_pruner != nullptr) prune_experts(*job.chain.expert_pruner);
  shape_ = model_->shape();
  whole_ = source_model_->shape();
  assign();
  lay_out();
}

// From here on the model is the rotated one.
void Resolved::rotate(const modifiers::Rotator& rotator) {
  SWAGE_CHECK(runs(), Unsupported, "rotations: model_type \"", reader_.config().get_string("model_type", ""),
              "\" is known by its sizes only, not by what reads and writes its residual stream");
  check_rotatable(weights_.encoded_modules(), job_.source.string());
  rotated_ = std::make_unique<RotatedWeights>(weights_, *model_, rotator.request(), context_.seed);
  model_ = model::make_model(config(), *rotated_, device_);
}

// From here on the model is the one with fewer experts.
void Resolved::prune_experts(const modifiers::ExpertPruner& pruner) {
  SWAGE_CHECK(runs(), Unsupported, job_.chain.text(), ": model_type \"", reader_.config().get_string("model_type", ""),
              "\" is known by its sizes only, and experts are scored by running them");
  check_prunable(weights_.encoded_modules(), job_.source.string());
  experts_ = std::make_unique<PrunedExperts>(weights_, *source_model_, pruner);
  experts_->check(reader_);
  model_ = model::make_model(config(), *experts_, device_);
}

void Resolved::assign() {
  assignment_ = assign_schemes_of(job_, *model_, reader_.config());
  check_requantization(weights_, assignment_, context_);
  SWAGE_CHECK(!assignment_.budget || !experts_, Unsupported, job_.chain.text(),
              ": a bit budget is measured on the model as it is; prune its experts in a run before");
  if (!assignment_.budget) return;
  units_ = budget_units(assignment_, model_->modules(),
                        [&](const std::string& module) { return stored_dtype(reader_, module); });
  costs_ = costs_of_shapes(assignment_, units_);
  choose_bits();
}

const checkpoint::WeightSource& Resolved::values() const {
  if (experts_) return *experts_;
  return rotated_ ? static_cast<const checkpoint::WeightSource&>(*rotated_) : weights_;
}

Json Resolved::config() const {
  if (experts_) return config_of_pruned(reader_.config(), *experts_);
  return rotated_ ? config_of_rotated(reader_.config(), *rotated_) : reader_.config();
}

OutputLayout Resolved::layout_of(const Assignment& assignment) const {
  std::set<std::string> rewritten = rescalings_.rewritten;
  rewritten.insert(sparsity_.rewritten.begin(), sparsity_.rewritten.end());
  if (rotated_) return layout_of_rotated(assignment, std::move(rewritten));
  if (experts_) rewritten.merge(experts_->rewritten());
  OutputLayout layout = output_layout(reader_, weights_, *model_, assignment, rewritten);
  if (experts_) experts_->lay_out(layout);
  return layout;
}

OutputLayout Resolved::layout_of_rotated(const Assignment& assignment, std::set<std::string> rewritten) const {
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
void Resolved::lay_out() {
  if (runs()) {
    rescalings_ = resolve_rescalings(job_.chain, *model_, assignment_, online());
    sparsity_ = resolve_sparsity(job_.chain, *model_, assignment_);
  } else {
    SWAGE_CHECK(job_.chain.sparsifiers.empty(), Unsupported, "pruning: model_type \"",
                reader_.config().get_string("model_type", ""), "\" is known by its sizes only");
  }
  SWAGE_CHECK(!experts_ || !needs_owl(sparsity_), Unsupported, job_.chain.text(),
              ": owl looks at the model as it is; prune its experts in a run before");
  layout_ = layout_of(assignment_);
  if (rotated_) rotated_->round_to(rotated_types());
}

std::map<std::string, at::ScalarType> Resolved::rotated_types() const {
  std::map<std::string, at::ScalarType> out;
  if (!rotated_) return out;
  const std::map<std::string, io::TensorSpec> dense = dense_rotated(reader_, *rotated_, assignment_);
  for (const io::TensorSpec& spec : layout_.tensors) {
    const bool changes_again = rescalings_.rewritten.contains(spec.name) || sparsity_.rewritten.contains(spec.name);
    if (dense.contains(spec.name) && !changes_again) out[spec.name] = checkpoint::scalar_type_of(spec.dtype);
  }
  return out;
}

void Resolved::choose_bits() {
  const auto files = [&](const Assignment& assignment) {
    return checkpoint::plan_shards(layout_of(assignment).tensors, job_.shard_bytes).file_bytes();
  };
  outcome_ = keep_to_budget(units_, costs_, files, assignment_);
}

void Resolved::choose_bits_by(BudgetCosts costs) {
  costs_ = std::move(costs);
  choose_bits();
  lay_out();
}

std::vector<std::string> Resolved::warnings() const {
  std::vector<std::string> out;
  const auto is_known = [this](const std::string& name) { return weights_.describes_quantization(name); };
  const std::vector<std::string> unread =
      runs() ? model::unread_tensors(*source_model_, reader_.tensors(), is_known) : std::vector<std::string>();
  if (std::string text = model::unread_warning(unread); !text.empty()) out.push_back(std::move(text));
  for (const auto* more : {&job_.chain.warnings, &assignment_.warnings, &sparsity_.warnings, &rescalings_.warnings}) {
    out.insert(out.end(), more->begin(), more->end());
  }
  if (experts_) out.insert(out.end(), experts_->warnings().begin(), experts_->warnings().end());
  add_warnings_of_readers(assignment_, out);
  if (rotated_) std::ranges::copy(online()->warnings(), std::back_inserter(out));
  return out;
}

PlanInput Resolved::plan_input(int64_t rows, int64_t row_tokens) const {
  PlanInput in{.shape = shape_, .assignment = assignment_, .sparsity = sparsity_, .chain = job_.chain};
  fill_sizes(in);
  in.rows = rows;
  in.row_tokens = row_tokens;
  in.moe_routed = job_.moe_routed;
  in.rotates = rotated_ != nullptr;
  in.whole = experts_ ? &whole_ : nullptr;
  in.keeps_activations = job_.resume;
  in.threads = at::get_num_threads();
  return in;
}

void Resolved::fill_sizes(PlanInput& in) const {
  const uint64_t element = io::data_bytes({"", dense_dtype(reader_), {1}});
  uint64_t listed = 0;
  for (const io::TensorSpec& spec : reader_.tensors()) listed += io::data_bytes(spec);
  // What a config says is there besides, without a name; shards have it among their tensors.
  const uint64_t unnamed = reader_.files().empty() ? element * uint64_t(whole_.side_parameters) : 0;
  in.source_bytes = listed + unnamed;
  in.copied_bytes = unnamed;
  in.output_bytes = layout_.bytes + unnamed;
  in.bytes_per_weight = std::min(double(element), double(in.source_bytes) / double(whole_.parameters()));
  const auto add_copied = [&in](uint64_t bytes) {
    in.copied_bytes += bytes;
    in.largest_copied_bytes = std::max(in.largest_copied_bytes, bytes);
  };
  for (const std::string& name : layout_.copied) add_copied(io::data_bytes(*reader_.find(name)));
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

}  // namespace swage::pipeline
