#include "swage/modifiers/cost.h"

#include <algorithm>

namespace swage::modifiers {
namespace {

// Passes at the speed of copying that these take, measured on SmolLM2-135M: ranges, rounding and errors; trying scales.
constexpr double kRoundingPasses = 12, kSearchPasses = 20, kObserverPasses = 100;

}  // namespace

GroupSize size_of(std::span<const LinearShape> linears) {
  GroupSize out;
  for (const LinearShape& linear : linears) {
    const double size = double(linear.rows) * double(linear.columns);
    out.all += size;
    out.largest = std::max(out.largest, size);
    out.columns = std::max(out.columns, double(linear.columns));
  }
  return out;
}

Cost rounding_cost(std::span<const LinearShape> linears, bool search, const CostSetting& setting) {
  Cost out;
  double bytes = 0, copy = 0;
  for (const LinearShape& linear : linears) {
    const double size = double(linear.rows) * double(linear.columns);
    const scheme::QuantizationArgs* weights = linear.weights;
    const bool grouped = weights != nullptr && weights->group_size.value_or(0) > 0;
    const double groups = grouped ? size / double(*weights->group_size) : double(linear.rows);
    const bool observed = weights != nullptr && weights->observer && !search;
    const bool shared = weights != nullptr && weights->strategy == scheme::Strategy::TensorGroup;
    bytes += size + groups * 12;  // codes of a byte; scales as found and as stored, zero points
    if (setting.calibrated && (observed || shared)) copy += size * 2;  // the checkpoint's numbers once more
    out.passes += size * (kRoundingPasses + (search ? kSearchPasses : 0) +
                          (observed && *weights->observer != "minmax" ? kObserverPasses : 0));
  }
  out.scratch_bytes = uint64_t(bytes + copy);
  return out;
}

}  // namespace swage::modifiers
