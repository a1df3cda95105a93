// What the layouts share: fetching a module's stored tensors with their type and shape checked, because they come from a
// file, and turning scales and zero points into the shapes of QuantizedWeight.
#pragma once
#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "swage/format/format.h"

namespace swage::format {

// The tensor, contiguous on the CPU; Error(CorruptData) naming the suffix if it is missing or has another dtype.
at::Tensor stored(const TensorLookup& lookup, const std::string& suffix, std::initializer_list<at::ScalarType> dtypes);
// "weight" as a matrix of one code an element.
at::Tensor stored_codes(const TensorLookup& lookup, at::ScalarType dtype);
// The same as stored(), with a check of the shape.
at::Tensor stored(const TensorLookup& lookup, const std::string& suffix, std::initializer_list<at::ScalarType> dtypes,
                  const std::vector<int64_t>& shape);
// Throws Error(CorruptData) naming suffix, expectation and finding unless the shape is `shape`.
void check_shape(const std::string& suffix, const at::Tensor& tensor, const std::vector<int64_t>& shape);

// Columns of scale_OG for weights of `columns` columns; Error(CorruptData) if the groups do not divide them.
int64_t stored_groups(const scheme::QuantizationArgs& args, int64_t columns);
// "weight_scale" in any float type: [O, G], or [1] for strategy tensor. Accepts [] for [1], and [O] for [O, 1].
at::Tensor stored_scale(const scheme::QuantizationArgs& args, const TensorLookup& lookup, int64_t rows, int64_t columns);
// Shape of scale_OG in memory and on disk.
std::vector<int64_t> scale_shape(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns);

// Before packing: codes [O, I] of `codes`, a scale and, unless symmetric, an int8 zero point of the scale's shape; all are
// made contiguous on the CPU. Error(InvalidArgument) saying which is wrong.
QuantizedWeight checked_for_packing(const scheme::QuantizationArgs& args, const QuantizedWeight& weight, at::ScalarType codes);

// Error(Unsupported) unless weights of these args can be held in a QuantizedWeight: integers of at most 8 bits or FP8, with
// strategy tensor, channel or group.
void check_representable(std::string_view format, const scheme::QuantizationArgs& args);

}  // namespace swage::format
