#include "swage/views/pruned_experts.h"

#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "swage/base/error.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {
namespace {

using graph::LinearSpec, graph::Mixture;

std::string weight_of(const LinearSpec& linear) { return linear.name + ".weight"; }

// A regular expression that is searched for, as one that is matched from the start.
std::string as_target(const std::string& pattern) {
  constexpr std::string_view kPrefix = "re:";
  return cat(kPrefix, ".*(?:", pattern.starts_with(kPrefix) ? pattern.substr(kPrefix.size()) : pattern, ")");
}

}  // namespace

PrunedExperts::PrunedExperts(const checkpoint::WeightSource& source, const model::Model& model,
                             const modifiers::ExpertPruner& by)
    : source_(source),
      model_(model),
      by_(by),
      kept_(size_t(model.blocks())) {
  for (int64_t b = 0; b < model.blocks(); ++b) {
    const Mixture* mixture = model.mixture(b);
    if (mixture == nullptr) continue;
    experts_ = int64_t(mixture->experts.size());
    top_k_ = mixture->top_k;
    SWAGE_CHECK(mixture->groups == 1, Unsupported, by.name(), ": ", mixture->router.name,
                " chooses among groups of experts, which would no longer be of one size");
  }
  SWAGE_CHECK(experts_ > 0, InvalidArgument, by.name(), ": this model has no experts to prune");
  stay_ = experts_ - by.dropped(experts_);
  check_counts();
  check_ignore();
  for (int64_t b = 0; b < model.blocks(); ++b) {
    if (const Mixture* mixture = model.mixture(b)) add_parts(b, *mixture);
  }
}

void PrunedExperts::check_counts() const {
  SWAGE_CHECK(stay_ < experts_, InvalidArgument, by_.name(), ": sparsity takes none of ", experts_,
              " experts; one goes from ", 1.0 / double(experts_), " on");
  SWAGE_CHECK(stay_ >= top_k_, InvalidArgument, by_.name(), ": sparsity leaves ", stay_, " of ", experts_,
              " experts, but the router sends each token to ", top_k_, "; at most ",
              double(experts_ - top_k_) / double(experts_), " of them can go");
}

// config.json has one number of experts for all layers.
void PrunedExperts::check_ignore() {
  std::vector<std::string> targets;
  for (const std::string& pattern : by_.ignore()) targets.push_back(as_target(pattern));
  const scheme::Patterns ignore(targets);
  std::vector<scheme::ModuleName> names;
  std::string ignored, left;
  for (const model::ModuleInfo& module : model_.modules()) names.push_back({module.name, module.class_name});
  for (int64_t b = 0; b < model_.blocks(); ++b) {
    if (model_.mixture(b) == nullptr) continue;
    names.push_back({layer_name(*model_.mixture(b)), "Mixture"});
    (ignore.match(names.back()) ? ignored : left) = names.back().name;
  }
  SWAGE_CHECK(!left.empty(), InvalidArgument, by_.name(), ": ignore leaves no experts to prune");
  SWAGE_CHECK(ignored.empty(), Unsupported, by_.name(), ": ignore leaves ", ignored, " alone and not ", left,
              ", but config.json has one number of experts for all layers");
  const std::vector<std::string> unmatched = ignore.unmatched(names);
  for (size_t i = 0; i < targets.size(); ++i) {
    const bool matches = std::find(unmatched.begin(), unmatched.end(), targets[i]) == unmatched.end();
    if (!matches) warnings_.push_back(cat(by_.name(), ": ignore matches no module of this model: ", by_.ignore()[i]));
  }
}

void PrunedExperts::add_parts(int64_t block, const Mixture& mixture) {
  parts_[weight_of(mixture.router)] = {block, -1, 0, {stay_, mixture.router.columns}};
  SWAGE_CHECK(!mixture.bias_is_row, Unsupported, by_.name(), ": ", mixture.router_bias,
              " has experts along its second dimension; taking some out is not supported");
  if (!mixture.router_bias.empty()) parts_[mixture.router_bias] = {block, -1, 0, {stay_}};
  for (const auto& [tensor, shape] : mixture.shared) {
    std::vector<int64_t> left = shape;
    left[0] = stay_;
    parts_[tensor] = {block, -1, 0, left};
  }
  if (mixture.experts.empty() || mixture.experts[0][0].stored.shared()) return;
  for (int64_t e = 0; e < experts_; ++e) {
    const std::vector<LinearSpec>& linears = mixture.experts[size_t(e)];
    for (size_t i = 0; i < linears.size(); ++i) {
      if (e < stay_)
        parts_[weight_of(linears[i])] = {block, e, i, {linears[i].rows, linears[i].columns}};
      else
        gone_.insert(weight_of(linears[i]));
    }
  }
}

std::string PrunedExperts::layer_name(const Mixture& mixture) {
  return mixture.router.name.substr(0, mixture.router.name.rfind('.'));
}

void PrunedExperts::keep(int64_t block, std::vector<int64_t> kept) {
  SWAGE_CHECK(model_.mixture(block) != nullptr && int64_t(kept.size()) == stay_ &&
                  std::is_sorted(kept.begin(), kept.end()) && kept.front() >= 0 && kept.back() < experts_ &&
                  std::adjacent_find(kept.begin(), kept.end()) == kept.end(),
              Internal, by_.name(), ": ", kept.size(), " experts of layer ", block, " were to stay, of ", stay_);
  kept_[size_t(block)] = std::move(kept);
}

std::string PrunedExperts::source_name(const std::string& name, const Part& part) const {
  if (part.expert < 0) return name;
  const std::vector<int64_t>& kept = this->kept(part.block);
  SWAGE_CHECK(!kept.empty(), Internal, name, ": which expert it is is not known yet");
  return weight_of(model_.mixture(part.block)->experts[size_t(kept[size_t(part.expert)])][part.linear]);
}

std::vector<int64_t> PrunedExperts::shape(const std::string& name) const {
  if (gone_.contains(name)) return {};
  const auto part = parts_.find(name);
  return part == parts_.end() || source_.shape(name).empty() ? source_.shape(name) : part->second.shape;
}

at::Tensor PrunedExperts::load(const std::string& name) const {
  const auto found = parts_.find(name);
  if (found == parts_.end()) return source_.load(name);
  const Part& part = found->second;
  if (part.expert >= 0) return source_.load(source_name(name, part));
  SWAGE_CHECK(!kept(part.block).empty(), Internal, name, ": which experts it is of is not known yet");
  const at::Tensor all = source_.load(name);
  return all.index_select(0, at::tensor(kept(part.block), at::kLong).to(all.device()));
}

void PrunedExperts::prefetch(const std::vector<std::string>& names) const {
  std::vector<std::string> sources;
  for (const std::string& name : names) {
    const auto part = parts_.find(name);
    const bool known = part != parts_.end() && !kept(part->second.block).empty();
    sources.push_back(known ? source_name(name, part->second) : name);
  }
  source_.prefetch(sources);
}

std::set<std::string> PrunedExperts::rewritten() const {
  std::set<std::string> out;
  for (const auto& [name, part] : parts_) out.insert(name);
  return out;
}

void PrunedExperts::check(const checkpoint::Reader& reader) const {
  for (int64_t b = 0; b < model_.blocks(); ++b) {
    const Mixture* mixture = model_.mixture(b);
    if (mixture == nullptr) continue;
    const std::string prefix = layer_name(*mixture) + ".";
    const std::vector<std::string> known = model_.tensors_of_block(b);  // a shared expert's stay as they are
    for (const io::TensorSpec& spec : reader.tensors()) {
      if (!spec.name.starts_with(prefix) || std::find(known.begin(), known.end(), spec.name) != known.end()) continue;
      SWAGE_CHECK(parts_.contains(spec.name) || gone_.contains(spec.name), Unsupported, by_.name(), ": ", spec.name,
                  ": it is not known which expert this belongs to");
    }
    if (!mixture->shared.empty()) continue;
    for (const std::vector<LinearSpec>& linears : mixture->experts) {
      const std::vector<LinearSpec>& first = mixture->experts.front();
      for (size_t i = 0; i < linears.size(); ++i) {
        SWAGE_CHECK(reader.find(weight_of(linears[i]))->dtype == reader.find(weight_of(first[i]))->dtype, Unsupported,
                    by_.name(), ": ", linears[i].name, " and ", first[i].name,
                    " are stored in different types, and one may come to the place of the other");
      }
    }
  }
}

void PrunedExperts::lay_out(OutputLayout& layout) const {
  std::erase_if(layout.tensors, [&](const io::TensorSpec& spec) { return gone_.contains(spec.name); });
  std::erase_if(layout.copied, [&](const std::string& name) { return gone_.contains(name); });
  layout.bytes = 0;
  for (io::TensorSpec& spec : layout.tensors) {
    const auto part = parts_.find(spec.name);
    if (part != parts_.end()) spec.shape = part->second.shape;
    layout.bytes += io::data_bytes(spec);
  }
}

void check_prunable(const std::vector<std::string>& encoded_modules, const std::string& source) {
  SWAGE_CHECK(encoded_modules.empty(), Unsupported, source, ": ", encoded_modules.front(),
              " is stored quantized or without its zeros, and experts are taken out of plain weights; swage convert "
              "--to dense it first");
}

Json config_of_pruned(const Json& config, const PrunedExperts& experts) {
  const auto with_count = [&](Json fields) {
    for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"}) {
      if (fields.find(key) != nullptr) fields.set(key, experts.stay());
    }
    return fields;
  };
  Json out = with_count(config);
  const Json* text = config.find("text_config");
  if (text != nullptr && text->is_object()) out.set("text_config", with_count(*text));
  return out;
}

}  // namespace swage::pipeline
