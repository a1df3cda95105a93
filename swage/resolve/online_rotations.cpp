#include "swage/resolve/online_rotations.h"

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/checkpoint/reader.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {
namespace {

using scheme::TransformArgs, scheme::TransformLocation, scheme::TransformScheme;
using solvers::RotationKind;

constexpr int64_t kPieceBytes = int64_t{4} << 20;  // of a matrix that is written at once
constexpr const char *kKeys = "R3", *kInner = "R4", *kInputs = "v", *kOutputs = "u";

std::string_view type_of(RotationKind kind) {
  if (kind == RotationKind::Hadamard) return "hadamard";
  return kind == RotationKind::RandomHadamard ? "random-hadamard" : "random-matrix";
}

// Streams of random numbers that have nothing to do with each other, nor with those of folded rotations.
uint64_t seed_of(uint64_t seed, const std::string& group, int64_t columns) {
  uint64_t use = 0x9fb21c651e98df25u;
  for (const char c : group) use = (use ^ uint64_t(c)) * 0x100000001b3u;
  return seed * 0x9e3779b97f4a7c15u + (use + uint64_t(columns)) * 0xd1342543de82ef95u;
}

bool is_power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

// "re:.*down_proj$" for modules that all end so and if no other does; else their names.
std::vector<std::string> targets_of(const std::vector<std::string>& modules, const std::vector<std::string>& all) {
  const std::string& first = modules.front();
  const std::string end = first.substr(first.rfind('.') + 1);
  const auto ends_so = [&](const std::string& name) { return name.ends_with(end); };
  const bool same = std::all_of(modules.begin(), modules.end(), ends_so) &&
                    std::count_if(all.begin(), all.end(), ends_so) == int64_t(modules.size());
  return same ? std::vector<std::string>{cat("re:.*", end, "$")} : modules;
}

std::vector<std::string> linear_names(const model::Model& model) {
  std::vector<std::string> out;
  for (const model::ModuleInfo& module : model.modules()) out.push_back(module.name);
  return out;
}

}  // namespace

OnlineRotations::OnlineRotations(const model::Model& model, const modifiers::RotationRequest& request, uint64_t seed)
    : request_(request),
      seed_(request.seed.value_or(seed)) {
  const graph::RotationSites sites = model.rotation_sites();
  if (request.keys) add_queries_and_keys(sites);
  if (request.inner) add_last_of_mlp(model, sites);
  if (request.inputs || request.outputs) add_linears(model);
}

TransformScheme OnlineRotations::scheme_with(std::vector<TransformArgs> apply, std::optional<int64_t> block) const {
  return {.type = std::string(type_of(request_.kind)),
          .apply = std::move(apply),
          .head_dim = block,
          .precision = "torch." + request_.precision};
}

void OnlineRotations::add_matrix(const std::string& group, int64_t columns, std::optional<int64_t> block,
                                 const std::string& tensor, bool stored_inverse) {
  const int64_t n = block.value_or(columns);
  SWAGE_CHECK(columns % n == 0, InvalidArgument, "rotation ", group, ": ", columns, " columns of ",
              tensor.substr(0, tensor.rfind('.')), " do not split into blocks of ", n);
  const auto [entry, fresh] = matrices_.try_emplace({group, n});
  if (!fresh) return;
  SWAGE_CHECK(request_.kind != RotationKind::Hadamard || is_power_of_two(n), InvalidArgument, "rotation ", group,
              " of ", n,
              " columns: the hadamard matrices of readers have powers of two; use transform_type random-hadamard, or a "
              "transform_block_size");
  try {
    const ops::Transform matrix = solvers::rotation(request_.kind, n, seed_of(seed_, group, n));
    entry->second = {std::make_shared<const ops::Transform>(matrix),
                     std::make_shared<const ops::Transform>(matrix.transposed()),
                     stored_inverse && request_.kind == RotationKind::RandomMatrix};
  } catch (Error& e) {
    e.add_context(cat("rotation ", group, " of ", n, " columns; transform_type random-matrix takes any size"));
    throw;
  }
  tensors_.push_back({tensor + ".weight", request_.precision == "float64" ? io::Dtype::F64 : io::Dtype::F32, {n, n}});
  stored_.push_back({group, n});
}

void OnlineRotations::add_queries_and_keys(const graph::RotationSites& sites) {
  SWAGE_CHECK(!sites.attentions.empty(), Unsupported, "rotation R3: this model has no attention");
  SWAGE_CHECK(sites.head_size > 0, Unsupported, "rotation R3: heads of different sizes in one model are not supported");
  const std::vector<std::string> targets = targets_of(sites.attentions, sites.attentions);
  groups_.emplace_back(kKeys, scheme_with({{targets, TransformLocation::Queries, false, {}},
                                           {targets, TransformLocation::KeyCache, false, {}}},
                                          sites.head_size));
  attentions_.insert(sites.attentions.begin(), sites.attentions.end());
  add_matrix(kKeys, sites.head_size, sites.head_size, sites.attentions.front() + ".R3_q_attn", false);
}

void OnlineRotations::add_last_of_mlp(const model::Model& model, const graph::RotationSites& sites) {
  SWAGE_CHECK(!sites.last_of_mlp.empty(), Unsupported, "rotation R4: this model has no MLP");
  const std::vector<std::string> targets = targets_of(sites.last_of_mlp, linear_names(model));
  groups_.emplace_back(kInner, scheme_with({{targets, TransformLocation::Input, false, {}},
                                            {targets, TransformLocation::WeightInput, true, {}}},
                                           request_.block_size));
  inputs_.insert(sites.last_of_mlp.begin(), sites.last_of_mlp.end());
  group_of_inputs_ = kInner;
  for (const model::ModuleInfo& module : model.modules()) {
    if (inputs_.contains(module.name))
      add_matrix(kInner, module.columns, request_.block_size, module.name + ".R4_input", false);
  }
}

void OnlineRotations::add_linears(const model::Model& model) {
  const std::vector<model::ModuleInfo> modules = model.modules();
  request_.ignore = graph::with_head_named(request_.ignore, modules);
  std::vector<scheme::ModuleName> names;
  for (const model::ModuleInfo& module : modules)
    names.push_back({module.name, module.quantizable ? module.class_name : "Router"});
  const scheme::Patterns targets(request_.targets), ignore(request_.ignore);
  const std::vector<std::string> unmatched_targets = targets.unmatched(names);
  SWAGE_CHECK(unmatched_targets.size() < request_.targets.size(), InvalidArgument,
              "QuIPModifier: targets matches no module of this model: ", unmatched_targets.front());
  for (const auto& [what, patterns] :
       {std::pair("targets", unmatched_targets), std::pair("ignore", ignore.unmatched(names))}) {
    for (const std::string& pattern : patterns)
      unmatched_.push_back(cat("QuIPModifier: ", what, " matches no module of this model: ", pattern));
  }
  if (request_.inputs) {
    groups_.emplace_back(kInputs,
                         scheme_with({{request_.targets, TransformLocation::Input, false, request_.ignore},
                                      {request_.targets, TransformLocation::WeightInput, true, request_.ignore}},
                                     request_.block_size));
    group_of_inputs_ = kInputs;
  }
  if (request_.outputs) {
    groups_.emplace_back(kOutputs,
                         scheme_with({{request_.targets, TransformLocation::WeightOutput, false, request_.ignore},
                                      {request_.targets, TransformLocation::Output, true, request_.ignore}},
                                     request_.block_size));
  }
  for (size_t i = 0; i < modules.size(); ++i) {
    if (!targets.match(names[i]) || ignore.match(names[i])) continue;
    SWAGE_CHECK(modules[i].class_name == "Linear" && modules[i].quantizable, Unsupported,
                "QuIPModifier: ", modules[i].name,
                ": embeddings and routers are not rotated while the model runs; add it to ignore");
    if (request_.inputs) {
      inputs_.insert(modules[i].name);
      add_matrix(kInputs, modules[i].columns, request_.block_size, modules[i].name + ".v_input", false);
    }
    if (request_.outputs) {
      outputs_.insert(modules[i].name);
      add_matrix(kOutputs, modules[i].rows, request_.block_size, modules[i].name + ".u_output", true);
    }
  }
}

std::shared_ptr<const ops::Transform> OnlineRotations::find(const std::string& module, TransformLocation location,
                                                            int64_t columns) const {
  const bool of_attention = location == TransformLocation::Queries || location == TransformLocation::KeyCache;
  if (of_attention) return attentions_.contains(module) ? matrices_.at({kKeys, columns}).forward : nullptr;
  const int64_t n = request_.block_size.value_or(columns);
  if (location == TransformLocation::Input)
    return inputs_.contains(module) ? matrices_.at({group_of_inputs_, n}).forward : nullptr;
  return outputs_.contains(module) ? matrices_.at({kOutputs, n}).inverse : nullptr;
}

const ops::Transform& OnlineRotations::folded(TransformLocation location, int64_t columns) const {
  return *matrices_
              .at({location == TransformLocation::Input ? group_of_inputs_ : kOutputs,
                   request_.block_size.value_or(columns)})
              .forward;
}

uint64_t OnlineRotations::bytes() const {
  uint64_t sum = 0;
  for (const io::TensorSpec& spec : tensors_) sum += io::data_bytes(spec);
  return sum;
}

// Row by row of a few MiB: a matrix for a wide MLP takes more than its weights.
void OnlineRotations::write(checkpoint::Writer& writer) const {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Matrix& matrix = matrices_.at(stored_[i]);
    const ops::Transform& stored = matrix.stored_inverse ? *matrix.inverse : *matrix.forward;
    const int64_t n = stored.size(), piece = std::max<int64_t>(1, kPieceBytes / (8 * n));
    const at::ScalarType type = checkpoint::scalar_type_of(tensors_[i].dtype);
    const size_t row_bytes = size_t(n) * c10::elementSize(type);
    for (int64_t first = 0; first < n; first += piece) {
      at::Tensor rows_RN = stored.matrix_rows(first, std::min(piece, n - first));
      if (request_.kind != RotationKind::RandomMatrix)
        rows_RN = rows_RN.mul_(std::sqrt(double(n))).round_();  // ones and minus ones
      rows_RN = rows_RN.to(type).contiguous();
      writer.put_part(tensors_[i].name, size_t(first) * row_bytes,
                      {static_cast<const char*>(rows_RN.const_data_ptr()), size_t(rows_RN.nbytes())});
    }
  }
}

std::vector<std::string> OnlineRotations::warnings() const {
  std::vector<std::string> out = unmatched_;
  if (request_.inner || request_.inputs || request_.outputs) {
    out.push_back(cat(request_.inner                        ? "R4"
                      : request_.inputs && request_.outputs ? "v and u"
                      : request_.inputs                     ? "v"
                                                            : "u",
                      " is computed by the reader (transform_config): swage and vLLM do; transformers 5 loads the "
                      "weights, leaves it out, and its outputs are wrong"));
  }
  if (request_.kind == RotationKind::RandomMatrix && (request_.inner || request_.inputs || request_.outputs)) {
    out.push_back(
        "transform_type random-matrix: vLLM 0.32 divides these matrices by the square root of their size, which only "
        "Hadamard matrices are stored for, so that its outputs are wrong");
  }
  if (request_.keys)
    out.push_back(
        "R3 is computed by the reader (transform_config): swage does; vLLM and transformers 5 leave it out, which "
        "changes nothing but what scales of a KV cache fit");
  return out;
}

}  // namespace swage::pipeline
