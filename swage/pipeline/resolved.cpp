#include "swage/pipeline/resolved.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "swage/base/error.h"
#include "swage/checkpoint/shard_layout.h"
#include "swage/job/output_texts.h"
#include "swage/model/unread_tensors.h"
#include "swage/pipeline/compress_checks.h"
#include "swage/resolve/quantized_source.h"
#include "swage/schedule/owl.h"

namespace swage::pipeline {

Resolved::Resolved(const CompressJob& job, const checkpoint::Reader& reader, const Context& context, at::Device device)
    : job_(job),
      reader_(reader),
      context_(context),
      device_(device),
      weights_(reader, device, {.weights_only = true, .dense_dtype = checkpoint::scalar_type_of(dense_dtype(reader))}),
      source_model_(model::make_model(reader.config(), weights_, device, context.architecture)),
      views_(make_views()),
      model_(views_.model()),
      shape_(model_->shape()),
      whole_(source_model_->shape()) {
  assign();
  lay_out();
}

ModelViews Resolved::make_views() const {
  check_no_transforms(weights_, job_.source, "compress");
  check_shapes(reader_, weights_, *source_model_);
  return {{weights_, source_model_, reader_, weights_.encoded_modules(), job_.source.string()},
          job_.chain,
          context_.seed,
          device_};
}

void Resolved::assign() {
  assignment_ = assign_schemes_of(job_, *model_, reader_.config());
  check_requantization(weights_, assignment_, context_);
  ignore_side_modules(reader_, *model_, assignment_);
  SWAGE_CHECK(!assignment_.budget || views_.experts() == nullptr, Unsupported, job_.chain.text(),
              ": a bit budget is measured on the model as it is; prune its experts in a run before");
  if (!assignment_.budget) return;
  units_ = budget_units(assignment_, model_->modules(),
                        [&](const model::ModuleInfo& module) { return stored_dtype(reader_, module.tensor()); });
  costs_ = costs_of_shapes(assignment_, units_);
  choose_bits();
}

std::set<std::string> Resolved::rewritten() const {
  std::set<std::string> out = rescalings_.rewritten;
  out.insert(sparsity_.rewritten.begin(), sparsity_.rewritten.end());
  return out;
}

OutputLayout Resolved::layout_of(const Assignment& assignment) const {
  return views_.layout(assignment, rewritten(), [&](const std::set<std::string>& changed) {
    return output_layout(reader_, weights_, *model_, assignment, changed);
  });
}

// What follows from the assignment.
void Resolved::lay_out() {
  rescalings_ = resolve_rescalings(job_.chain, *model_, assignment_, views_.online());
  sparsity_ = resolve_sparsity(job_.chain, *model_, assignment_);
  SWAGE_CHECK(views_.experts() == nullptr || !needs_owl(sparsity_), Unsupported, job_.chain.text(),
              ": owl looks at the model as it is; prune its experts in a run before");
  layout_ = layout_of(assignment_);
  views_.settle(assignment_, layout_, rewritten());
}

void Resolved::choose_bits() {
  const auto files = [&](const Assignment& assignment) {
    return checkpoint::plan_shards(layout_of(assignment).tensors, job_.max_shard_size).file_bytes();
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
  const std::vector<std::string> unread = model::unread_tensors(*source_model_, reader_.tensors(), is_known);
  if (std::string text = model::unread_warning(unread); !text.empty()) out.push_back(std::move(text));
  for (const auto* more : {&job_.chain.warnings, &assignment_.warnings, &sparsity_.warnings, &rescalings_.warnings}) {
    out.insert(out.end(), more->begin(), more->end());
  }
  std::ranges::copy(views_.warnings(), std::back_inserter(out));
  add_warnings_of_readers(assignment_, reader_.config().get_string("model_type", ""), out);
  return out;
}

PlanInput Resolved::plan_input(int64_t rows, int64_t row_tokens) const {
  PlanInput in{.shape = shape_, .assignment = assignment_, .sparsity = sparsity_, .chain = job_.chain};
  fill_sizes(in);
  in.rows = rows;
  in.row_tokens = row_tokens;
  in.moe_routed = job_.moe_routed;
  in.rotates = views_.rotated() != nullptr;
  in.whole = views_.experts() != nullptr ? &whole_ : nullptr;
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
  for (const uint64_t bytes : views_.moved_bytes(assignment_, layout_)) add_copied(bytes);
  const OnlineRotations* online = views_.online();
  if (online == nullptr) return;
  in.copied_bytes += online->bytes();
  in.rotated_inputs = online->inputs();
  in.rotated_outputs = online->outputs();
}

}  // namespace swage::pipeline
