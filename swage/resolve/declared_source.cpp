#include "swage/resolve/declared_source.h"

#include <memory>
#include <utility>

#include "swage/checkpoint/no_weights.h"
#include "swage/io/declared_tensors.h"
#include "swage/model/decoder_model.h"
#include "swage/resolve/quantized_source.h"

namespace swage::pipeline {

checkpoint::Reader declared_source(const std::filesystem::path& folder, const Json& config,
                                   const std::string& architecture) {
  const model::DecoderModel model(model::make_program(config, checkpoint::NoWeights(), architecture), at::kCPU);
  const io::Dtype dtype = dtype_of_config(config).value_or(io::Dtype::BF16);
  std::vector<io::TensorSpec> tensors = model.required_tensors();
  for (io::TensorSpec& spec : tensors) spec.dtype = dtype;
  Json dense = without_old_keys(config);
  dense.erase("quantization_config");
  return {std::make_unique<io::DeclaredTensors>(folder, std::move(tensors)), std::move(dense)};
}

}  // namespace swage::pipeline
