#include "swage/model/arch/arch_table.h"

#include "swage/base/error.h"
#include "swage/model/decoder_model.h"
#include "swage/model/model.h"

namespace swage::model {

const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      {"llama", describe_llama},  // Llama 2 and 3, SmolLM, TinyLlama, Yi
      {"mistral", describe_mistral}, {"mixtral", describe_mixtral},     {"opt", describe_opt},         {"qwen2", describe_qwen2},
      {"qwen3", describe_qwen3},     {"qwen3_moe", describe_qwen3_moe}, {"smollm3", describe_smollm3},
  };
  return table;
}

std::vector<std::string> supported_model_types() {
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures()) names.emplace_back(architecture.model_type);
  return names;
}

std::unique_ptr<Model> make_model(const Json& config, const checkpoint::WeightSource& weights, at::Device device) {
  const ConfigFields fields(config);
  const std::string model_type = fields.text_or("model_type", "");
  SWAGE_CHECK(!model_type.empty(), CorruptData, "config.json: model_type is missing");
  std::string known;
  for (const Architecture& architecture : architectures()) {
    if (architecture.model_type == model_type) {
      return std::make_unique<DecoderModel>(architecture.describe(fields, weights), device);
    }
    known += (known.empty() ? "" : ", ") + std::string(architecture.model_type);
  }
  throw Error(ErrorKind::Unsupported, cat("model_type \"", model_type, "\" is not supported; supported are ", known));
}

}  // namespace swage::model
