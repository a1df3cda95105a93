// Stored layouts of a quantized weight (compressed-tensors): one row a layout.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/format/quantized_weight.h"
#include "swage/io/tensor_spec.h"
#include "swage/scheme/quantization.h"

namespace swage::format {

// Reads one stored tensor of a module by its suffix ("weight_packed"), undefined if it is not there.
using TensorLookup = std::function<at::Tensor(const std::string& suffix)>;

struct Format {
  std::string_view name;  // "pack-quantized"
  // Suffix, dtype and shape of what pack() stores for an [O, I] weight whose scales have type `scale_dtype`.
  // Error(Unsupported) for args the format cannot hold, Error(InvalidArgument) if groups do not divide the columns.
  std::vector<io::TensorSpec> (*specs)(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns,
                                       io::Dtype scale_dtype);
  // Dense shape [O, I] of the stored weight, checked as far as it can be without reading codes.
  std::vector<int64_t> (*shape)(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
  // Suffix and tensor, in the order of specs(). Codes are stored as they are, never requantized.
  std::vector<std::pair<std::string, at::Tensor>> (*pack)(const scheme::QuantizationArgs& args,
                                                          const QuantizedWeight& weight);
  // The inverse; Error(CorruptData) naming the suffix when a tensor is missing or has the wrong type or shape.
  QuantizedWeight (*unpack)(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
  // The same for files of compressed-tensors before 0.18, where shapes leave open which layout it is.
  QuantizedWeight (*unpack_before_0_18)(const scheme::QuantizationArgs& args, const TensorLookup& lookup);
  // For files of compressed-tensors before 0.14, where these differ from both; nullptr: as unpack_before_0_18.
  QuantizedWeight (*unpack_before_0_14)(const scheme::QuantizationArgs& args, const TensorLookup& lookup) = nullptr;
};

// Of the three, the one for files whose quantization_config names this version of compressed-tensors ("0.13.0"). What
// is no version counts as the newest.
QuantizedWeight (*unpack_for(const Format& format, std::string_view version))(const scheme::QuantizationArgs& args,
                                                                              const TensorLookup& lookup);

std::span<const Format> formats();
// Error(Unsupported) listing the known names.
const Format& format_named(std::string_view name);
// The format by scheme::format_of(scheme).
const Format& format_for(const scheme::Scheme& scheme);

}  // namespace swage::format
