#include "swage/io/tensor_store.h"

#include <algorithm>

#include "swage/base/error.h"

namespace swage::io {

void TensorStore::settle(std::vector<TensorSpec> specs) {
  specs_ = std::move(specs);
  std::sort(specs_.begin(), specs_.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
}

uint64_t TensorStore::tensor_bytes() const {
  uint64_t bytes = 0;
  for (const TensorSpec& spec : specs_) bytes += data_bytes(spec);
  return bytes;
}

size_t TensorStore::index_of(std::string_view name) const {
  const auto at = std::lower_bound(specs_.begin(), specs_.end(), name,
                                   [](const auto& spec, std::string_view n) { return spec.name < n; });
  return at == specs_.end() || at->name != name ? specs_.size() : size_t(at - specs_.begin());
}

const TensorSpec* TensorStore::find(std::string_view name) const {
  const size_t i = index_of(name);
  return i < specs_.size() ? &specs_[i] : nullptr;
}

void TensorStore::hide(std::string_view name) {
  const size_t i = index_of(name);
  if (i < specs_.size()) specs_.erase(specs_.begin() + ptrdiff_t(i));
}

const TensorSpec& TensorStore::spec_of(std::string_view name) const {
  const TensorSpec* spec = find(name);
  SWAGE_CHECK(spec != nullptr, CorruptData, folder_.string(), ": tensor ", quoted(name), " is not in the checkpoint");
  return *spec;
}

}  // namespace swage::io
