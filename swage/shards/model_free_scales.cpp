#include "swage/shards/model_free_scales.h"

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/kernels/kernels.h"
#include "swage/scheme/fused_sets.h"
#include "swage/solvers/grid.h"

namespace swage::pipeline {
namespace {

kernels::NumberFormat format_of(io::Dtype dtype) {
  if (dtype == io::Dtype::F32) return kernels::NumberFormat::F32;
  return dtype == io::Dtype::F16 ? kernels::NumberFormat::F16 : kernels::NumberFormat::BF16;
}

// Largest magnitude of a weight, chunk by chunk.
double absmax_of(const checkpoint::Reader& reader, const FreeItem& item) {
  const SourceModule& module = *item.module;
  const int64_t columns = module.info.columns;
  std::vector<char> buffer(uint64_t(std::min(item.chunk_rows, item.rows) * columns) *
                           uint64_t(io::bits_of(module.dtype)) / 8);
  float largest = 0;
  for (int64_t first = 0; first < item.rows; first += item.chunk_rows) {
    const int64_t rows = std::min(item.chunk_rows, item.rows - first);
    read_rows(reader, module, first, rows, buffer.data());
    kernels::ValueRange range{buffer.data(), format_of(module.dtype), rows * columns, 0, 0};
    kernels::fast_kernels().value_range(range);
    SWAGE_CHECK(!std::isnan(range.low), Numerical, module.info.name, ".weight: holds a NaN or Inf");
    largest = std::max({largest, -range.low, range.high});
  }
  return largest;
}

}  // namespace

SharedScales::SharedScales(const checkpoint::Reader& reader, const FreeLayout& layout) : reader_(reader) {
  for (const FreeItem& item : layout.items) {
    if (item.scheme == nullptr || item.scheme->weights->strategy != scheme::Strategy::TensorGroup) continue;
    std::unique_ptr<Set>& set = sets_[scheme::fused_set(item.module->info.name)];
    if (set == nullptr) set = std::make_unique<Set>();
    set->members.push_back(&item);
  }
}

void SharedScales::find(Set& set) const {
  double absmax = 0;
  for (const FreeItem* member : set.members) absmax = std::max(absmax, absmax_of(reader_, *member));
  set.scale = solvers::global_scale_of(absmax, checkpoint::scalar_type_of(set.members[0]->module->dtype));
}

at::Tensor SharedScales::of(const FreeItem& item) {
  if (item.scheme == nullptr || item.scheme->weights->strategy != scheme::Strategy::TensorGroup) return {};
  Set& set = *sets_.at(scheme::fused_set(item.module->info.name));
  std::call_once(set.once, [&] { find(set); });
  return set.scale;
}

}  // namespace swage::pipeline
