// What each module of a conversion becomes, decided from headers, scales and group indices before anything is written.
#pragma once
#include <string>
#include <vector>

#include "swage/checkpoint/reader.h"
#include "swage/convert/convert.h"
#include "swage/format/weight_source.h"
#include "swage/io/tensor_spec.h"

namespace swage::pipeline {

// One quantized module. The weight of a dense target is stored as `dtype`, the scales of any other.
struct ConvertedModule {
  std::string name;
  const format::Format* format = nullptr;  // nullptr: dense
  scheme::QuantizationArgs args;           // in the target
  io::Dtype dtype = io::Dtype::F16;
  int64_t rows = 0, columns = 0;
};

struct ConversionPlan {
  std::vector<ConvertedModule> modules;  // sorted by name
  std::vector<io::TensorSpec> tensors;   // of the output, in the order of the shards
  std::vector<std::string> copied;       // of these, the ones taken over bit for bit
  std::vector<std::string> unquantized;  // modules with a float matrix as weight that is no embedding
  uint64_t source_bytes = 0, output_bytes = 0;
  std::vector<std::string> warnings;
};

// Error(InvalidArgument) naming the module and why `job.to` cannot hold it, or that `job.to` or `job.dtype` is unknown.
ConversionPlan plan_conversion(const ConvertJob& job, const checkpoint::Reader& reader,
                               const format::CheckpointWeights& weights);

// `weight`, as read from the source, as the module stores it: scales spread and cast, zero points added or dropped,
// never a code changed.
format::QuantizedWeight in_target(const ConvertedModule& module, format::QuantizedWeight weight);

}  // namespace swage::pipeline
