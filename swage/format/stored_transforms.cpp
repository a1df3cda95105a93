#include "swage/format/stored_transforms.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/sort.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "swage/base/error.h"

namespace swage::format {
namespace {

constexpr std::string_view kWeightEnd = ".weight", kPermutation = ".perm";

std::optional<scheme::OnlineTransform> find_transform(const scheme::TransformMatcher& matcher,
                                                      const scheme::ModuleName& module,
                                                      scheme::TransformLocation location) {
  const bool of_attention =
      location == scheme::TransformLocation::KeyCache || location == scheme::TransformLocation::Queries;
  if (!of_attention) return matcher.find(module, location);
  std::vector<std::string> classes =
      matcher.targets_of(location);  // a checkpoint does not tell what its attention is called
  std::erase_if(classes, [](const std::string& target) { return !target.ends_with("Attention"); });
  classes.push_back(module.class_name);
  for (const std::string& name : classes) {
    if (std::optional<scheme::OnlineTransform> found = matcher.find({module.name, name}, location)) return found;
  }
  return {};
}

// What is applied to the module where it stores its matrix under this suffix; nothing if nothing is.
std::optional<scheme::OnlineTransform> at_suffix(const scheme::TransformMatcher& matcher, const std::string& module,
                                                 const std::string& suffix) {
  using scheme::TransformLocation;
  for (const auto location :
       {TransformLocation::Input, TransformLocation::Output, TransformLocation::KeyCache, TransformLocation::Queries}) {
    std::optional<scheme::OnlineTransform> found = find_transform(matcher, {module}, location);
    if (found && found->suffix() == suffix) return found;
  }
  return {};
}

}  // namespace

StoredTransforms::StoredTransforms(scheme::TransformGroups groups, const checkpoint::Reader& reader)
    : matcher_(std::move(groups)),
      reader_(reader) {
  const std::vector<std::string> suffixes = matcher_.stored_suffixes();
  for (const io::TensorSpec& spec : reader.tensors()) {
    if (suffixes.empty() || !spec.name.ends_with(kWeightEnd) || spec.shape.size() != 2) continue;
    const std::string tensor = spec.name.substr(0, spec.name.size() - kWeightEnd.size());
    const size_t dot = tensor.rfind('.');
    if (dot == std::string::npos ||
        std::find(suffixes.begin(), suffixes.end(), tensor.substr(dot + 1)) == suffixes.end())
      continue;
    const auto of = at_suffix(matcher_, tensor.substr(0, dot), tensor.substr(dot + 1));
    if (of) stored_.push_back({of->group, spec.shape[0], of->inverse && !of->scheme->normalised(), tensor});
  }
}

std::string StoredTransforms::tensor_of(const scheme::OnlineTransform& transform, const std::string& module,
                                        int64_t size) const {
  const std::string own = module + "." + transform.suffix();
  if (reader_.find(own + std::string(kWeightEnd)) != nullptr) return own;
  const bool inverse = transform.inverse && !transform.scheme->normalised();
  for (const Stored& stored : stored_) {
    if (stored.group == transform.group && stored.size == size && stored.inverse == inverse) return stored.tensor;
  }
  throw Error(ErrorKind::CorruptData,
              cat(own, ": its matrix [", size, ", ", size, "] is not stored, neither there nor under another module"));
}

ops::Transform StoredTransforms::read(const scheme::OnlineTransform& transform, const std::string& tensor,
                                      int64_t size) const {
  const std::string name = tensor + std::string(kWeightEnd);
  at::Tensor entries_NN = reader_.view(name);
  SWAGE_CHECK(entries_NN.sizes().vec() == (std::vector<int64_t>{size, size}) && entries_NN.is_floating_point() &&
                  entries_NN.element_size() > 1,
              CorruptData, name, ": expected floats [", size, ", ", size, "], found ", entries_NN.sizes(), " of ",
              c10::toString(entries_NN.scalar_type()));
  if (transform.scheme->randomize) {
    const std::string perm = tensor + std::string(kPermutation);
    SWAGE_CHECK(reader_.find(perm) != nullptr, CorruptData, perm,
                ": is not stored, though the transform is randomized");
    const at::Tensor order_N = reader_.view(perm);
    const bool numbers = order_N.scalar_type() == at::kLong && order_N.sizes().vec() == std::vector<int64_t>{size};
    SWAGE_CHECK(numbers && std::get<0>(order_N.sort()).equal(at::arange(size, at::kLong)), CorruptData, perm,
                ": expected the numbers below ", size, " in some order");
    entries_NN = entries_NN.index_select(0, order_N).index_select(1, order_N);
  }
  try {
    return ops::Transform::of_matrix(entries_NN, transform.scheme->normalised() ? 1 / std::sqrt(double(size)) : 1);
  } catch (Error& e) {
    e.add_context(name);
    throw;
  }
}

std::shared_ptr<const ops::Transform> StoredTransforms::find(const scheme::ModuleName& module,
                                                             scheme::TransformLocation location,
                                                             int64_t columns) const {
  if (empty()) return nullptr;
  const auto transform = find_transform(matcher_, module, location);
  if (!transform) return nullptr;
  const int64_t size = transform->scheme->head_dim.value_or(columns);
  SWAGE_CHECK(columns % size == 0, CorruptData, "transform_config: ", transform->group, ": head_dim ", size,
              " does not divide the ", columns, " columns of ", module.name);
  const std::string tensor = tensor_of(*transform, module.name, size);
  const bool transposed = transform->inverse && transform->scheme->normalised();
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const ops::Transform>& kept = read_[{tensor, transposed}];
  if (!kept) {
    const ops::Transform matrix = read(*transform, tensor, size);
    kept = std::make_shared<const ops::Transform>(transposed ? matrix.transposed() : matrix);
    reader_.drop(tensor + std::string(kWeightEnd));
  }
  return kept;
}

}  // namespace swage::format
