// What the layouts share: fetching a module's stored tensors with their type and shape checked, because they come from
// a file, and turning scales and zero points into the shapes of QuantizedWeight.
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

// "weight_scale" in one of `dtypes`, by default any float type: [O, G], [1] for strategy tensor, [ceil(O / rows),
// ceil(I / columns)] for blocks. Accepts [] for [1], and [O] for [O, 1]. Error(CorruptData) if groups do not divide the
// columns.
at::Tensor stored_scale(const scheme::QuantizationArgs& args, const TensorLookup& lookup, int64_t rows, int64_t columns,
                        std::initializer_list<at::ScalarType> dtypes = {at::kFloat, at::kBFloat16, at::kHalf,
                                                                        at::kDouble});
// "weight_zero_point" unpacked, of the scale's shape; [], [1] and [O] as for the scale.
at::Tensor stored_zero_point(const TensorLookup& lookup, const at::Tensor& scale_OG, at::ScalarType dtype);
// A single float32 such as "weight_global_scale", [1] or []. Undefined if it is not there and not `needed`.
at::Tensor stored_scalar(const TensorLookup& lookup, const std::string& suffix, bool needed);
// Shape of scale_OG in memory and on disk. Error(InvalidArgument) if groups do not divide the columns.
std::vector<int64_t> scale_shape(const scheme::QuantizationArgs& args, int64_t rows, int64_t columns);

// Before packing: codes [O, I] of `codes`, a scale of type `scale` (kUndefined: any float of 16 bits or more) and,
// unless symmetric, a zero point of the codes' type and the scale's shape; all are made contiguous on the CPU.
// Error(InvalidArgument) saying which is wrong.
QuantizedWeight checked_for_packing(const scheme::QuantizationArgs& args, const QuantizedWeight& weight,
                                    at::ScalarType codes, at::ScalarType scale = at::ScalarType::Undefined);
// The args' block sizes in the weight; nothing for other strategies.
void set_blocks(const scheme::QuantizationArgs& args, QuantizedWeight& weight);

// Error(Unsupported) unless the args are integers of at most `widest` bits or FP8, with strategy tensor, channel, group
// or, if `blocks`, block, and scales of 16 bits or more.
void check_representable(std::string_view format, const scheme::QuantizationArgs& args, int widest = 8,
                         bool blocks = false);
// Error(Unsupported) unless the args are symmetric floats of `bits` bits in groups of `group_size` columns by
// `strategy`, with scales of `scale_dtype` ("torch.uint8") or of no type said.
void check_float_groups(std::string_view format, const scheme::QuantizationArgs& args, int bits,
                        scheme::Strategy strategy, int64_t group_size, std::string_view scale_dtype);

}  // namespace swage::format
