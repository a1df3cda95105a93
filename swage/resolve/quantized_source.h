// A source that is quantized already: compress takes the values of its weights, which are dequantized on the fly, and
// leaves behind what else it says of quantization.
#pragma once
#include <filesystem>
#include <optional>
#include <string_view>

#include "swage/base/context.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/writer.h"
#include "swage/format/weight_source.h"
#include "swage/resolve/assignment.h"

namespace swage::pipeline {

struct OutputLayout;

// Whether a tensor of this dtype can hold a weight's values as they are.
bool is_plain_float(io::Dtype dtype);
// The dtype that a config says its weights have (`dtype`, `torch_dtype`), if it says one of bf16, f16 and f32.
std::optional<io::Dtype> dtype_of_config(const Json& config);
// The dtype of weights that the source holds as codes: the config's (`dtype`, `torch_dtype`), else that of most of its
// other weights, else f32.
io::Dtype dense_dtype(const checkpoint::Reader& reader);
// The config without the places other than "quantization_config" that can describe a quantization.
Json without_old_keys(const Json& config);
// Error(InvalidArgument) if the source holds everything as the assignment wants it; otherwise tells the log that the
// error of the first rounding stays.
void check_requantization(const format::CheckpointWeights& source, const Assignment& assignment,
                          const Context& context);
// Error(Unsupported) for a source whose reader multiplies activations with matrices (transform_config): `does`
// ("compress") knows weights alone.
void check_no_transforms(const format::CheckpointWeights& weights, const std::filesystem::path& source,
                         std::string_view does);
// Writes layout.dequantized in their dtype. Error(Numerical) naming a weight that f16 cannot hold.
void write_dequantized(const checkpoint::Reader& reader, const format::CheckpointWeights& source,
                       const OutputLayout& layout, checkpoint::Writer& writer);

}  // namespace swage::pipeline
