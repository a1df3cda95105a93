#include "swage/model/arch/arch_table.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/model/decoder_model.h"
#include "swage/model/model.h"

namespace swage::model {

// check_style: allow, a table with a row for each family
const std::vector<Architecture>& architectures() {
  static const std::vector<Architecture> table = {
      {"afmoe", describe_afmoe},
      {"apertus", describe_apertus},
      {"arcee", describe_arcee},
      {"bamba", describe_bamba},
      {"bart", describe_bart},
      {"bert", describe_bert},
      {"bitnet", describe_bitnet},
      {"bloom", describe_bloom},
      {"codegen", describe_codegen},
      {"cohere", describe_cohere},
      {"cohere2", describe_cohere2},
      {"deberta-v2", describe_deberta_v2},
      {"deepseek_v2", describe_deepseek_v2},
      {"deepseek_v3", describe_deepseek_v3},
      {"deepseek_v32", describe_deepseek_v32},
      {"distilbert", describe_distilbert},
      {"dots1", describe_dots1},
      {"electra", describe_electra},
      {"ernie4_5", describe_ernie4_5},
      {"ernie4_5_moe", describe_ernie4_5_moe},
      {"exaone4", describe_exaone4},
      {"exaone_moe", describe_exaone_moe},
      {"falcon", describe_falcon},
      {"falcon_h1", describe_falcon_h1},
      {"falcon_mamba", describe_falcon_mamba},
      {"flex_olmo", describe_flex_olmo},
      {"gemma", describe_gemma},
      {"gemma2", describe_gemma2},
      {"gemma3", describe_gemma3},
      {"gemma3_text", describe_gemma3_text},
      {"gemma3n", describe_gemma3n},
      {"gemma3n_text", describe_gemma3n_text},
      {"gemma4_text", describe_gemma4_text},
      {"glm", describe_glm},
      {"glm4", describe_glm4},
      {"glm4_moe", describe_glm4_moe},
      {"glm4_moe_lite", describe_glm4_moe_lite},
      {"glm_moe_dsa", describe_glm_moe_dsa},
      {"gpt2", describe_gpt2},
      {"gpt_bigcode", describe_gpt_bigcode},
      {"gpt_neo", describe_gpt_neo},
      {"gpt_neox", describe_gpt_neox},
      {"gpt_oss", describe_gpt_oss},
      {"gptj", describe_gptj},
      {"granite", describe_granite},
      {"granitemoe", describe_granitemoe},
      {"granitemoehybrid", describe_granitemoehybrid},
      {"granitemoeshared", describe_granitemoe},
      {"helium", describe_helium},
      {"hunyuan_v1_dense", describe_hunyuan_v1_dense},
      {"hunyuan_v1_moe", describe_hunyuan_v1_moe},
      {"jamba", describe_jamba},
      {"kimi_linear", describe_kimi_linear},
      {"lfm2", describe_lfm2},
      {"lfm2_moe", describe_lfm2_moe},
      {"llama", describe_llama},  // Llama 2 and 3, SmolLM, TinyLlama, Yi
      {"llama4", describe_llama4},
      {"llama4_text", describe_llama4_text},
      {"llava", describe_llava},
      {"mamba", describe_mamba},
      {"mamba2", describe_mamba2},
      {"minicpm3", describe_minicpm3},
      {"minimax", describe_minimax},
      {"minimax_m2", describe_minimax_m2},
      {"ministral", describe_ministral},
      {"ministral3", describe_ministral3},
      {"mistral", describe_mistral},
      {"mistral3", describe_mistral3},
      {"mistral4", describe_mistral4},
      {"mixtral", describe_mixtral},
      {"mllama", describe_mllama},
      {"modernbert", describe_modernbert},
      {"mpt", describe_mpt},
      {"nemotron", describe_nemotron},
      {"nemotron_h", describe_nemotron_h},
      {"olmo", describe_olmo},
      {"olmo2", describe_olmo2},
      {"olmo3", describe_olmo3},
      {"olmo_hybrid", describe_olmo_hybrid},
      {"olmoe", describe_olmoe},
      {"opt", describe_opt},
      {"phi", describe_phi},
      {"phi3", describe_phi3},
      {"phimoe", describe_phimoe},
      {"qwen2", describe_qwen2},
      {"qwen2_5_vl", describe_qwen2_vl},
      {"qwen2_moe", describe_qwen2_moe},
      {"qwen2_vl", describe_qwen2_vl},
      {"qwen3", describe_qwen3},
      {"qwen3_5", describe_qwen3_5},
      {"qwen3_5_moe", describe_qwen3_5_moe},
      {"qwen3_5_moe_text", describe_qwen3_5_moe_text},
      {"qwen3_5_text", describe_qwen3_5_text},
      {"qwen3_moe", describe_qwen3_moe},
      {"qwen3_next", describe_qwen3_next},
      {"qwen3_vl", describe_qwen3_vl},
      {"qwen3_vl_moe", describe_qwen3_vl_moe},
      {"roberta", describe_roberta},
      {"seed_oss", describe_seed_oss},
      {"smollm3", describe_smollm3},
      {"solar_open", describe_solar_open},
      {"stablelm", describe_stablelm},
      {"starcoder2", describe_starcoder2},
      {"t5", describe_t5},
      {"xlm-roberta", describe_roberta},
      {"zamba2", describe_zamba2},
  };
  return table;
}

namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// The family whose name begins most as `model_type` does; Llama, whose blocks most new models have, where none does.
std::string nearest_family(const std::string& model_type) {
  std::string out = "llama";
  size_t most = 3;  // letters in common that say nothing
  for (const std::string& name : supported_model_types()) {
    const auto [end, other] = std::mismatch(name.begin(), name.end(), model_type.begin(), model_type.end());
    if (const auto common = size_t(end - name.begin()); common > most) {
      most = common;
      out = name;
    }
  }
  return out;
}

const Architecture& architecture_of(const std::string& model_type) {
  SWAGE_CHECK(!model_type.empty(), CorruptData, "config.json: model_type is missing");
  for (const Architecture& architecture : architectures()) {
    if (architecture.model_type == model_type) return architecture;
  }
  const std::string nearest = nearest_family(model_type);
  throw Error(ErrorKind::Unsupported,
              cat("model_type \"", model_type, "\" is not supported. If the model is built like ", nearest,
                  ", --architecture ", nearest,
                  " tries that, comparing names and shapes of its tensors first; methods without data run on any model "
                  "with --model-free. Supported are ",
                  joined(supported_model_types())));
}

}  // namespace

std::vector<std::string> supported_model_types() {
  std::vector<std::string> names;
  for (const Architecture& architecture : architectures()) names.emplace_back(architecture.model_type);
  return names;
}

graph::ModelProgram make_program(const Json& config, const checkpoint::WeightSource& weights,
                                 const std::string& architecture) {
  const ConfigFields own(config);
  const std::string model_type = architecture.empty() ? own.text_or("model_type", "") : architecture;
  const Architecture& family = architecture_of(model_type);
  Json taken = config;
  taken.set("model_type", model_type);
  graph::ModelProgram out = family.describe(ConfigFields(taken), weights);
  out.architecture = model_type;
  return out;
}

std::unique_ptr<Model> make_model(const Json& config, const checkpoint::WeightSource& weights, at::Device device,
                                  const std::string& architecture) {
  return std::make_unique<DecoderModel>(make_program(config, weights, architecture), device);
}

}  // namespace swage::model
