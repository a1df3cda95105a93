#include "swage/data/tokenizer_class.h"

#include <algorithm>
#include <iterator>

namespace swage::data {

namespace {

constexpr const char* kPlain = "TokenizersBackend";

// Types of models whose tokenizer_config.json is not believed: TOKENIZER_MAPPING_NAMES and
// MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS of transformers' tokenization_auto.py.
constexpr std::string_view kPlainTypes[] = {"arctic",
                                            "aria",
                                            "chatlm",
                                            "ernie4_5",
                                            "ernie4_5_moe",
                                            "flex_olmo",
                                            "fuyu",
                                            "glm",
                                            "glm4",
                                            "glm4_moe",
                                            "glm4_moe_lite",
                                            "glm4v",
                                            "glm4v_moe",
                                            "gpt_bigcode",
                                            "granite",
                                            "granitemoe",
                                            "granitemoehybrid",
                                            "granitemoeshared",
                                            "h2ovl_chat",
                                            "hyperclovax",
                                            "hyperclovax_vlm",
                                            "internlm2",
                                            "internlm3",
                                            "iquestcoder",
                                            "jamba",
                                            "kimi_k25",
                                            "kimi_linear",
                                            "llava",
                                            "llava_next",
                                            "mimo_v2_flash",
                                            "minicpm3",
                                            "minicpmv",
                                            "minimax_m2",
                                            "ministral",
                                            "ministral3",
                                            "mistral",
                                            "mistral3",
                                            "mistral_large4",
                                            "mixtral",
                                            "modernbert",
                                            "modernbert-decoder",
                                            "molmo",
                                            "molmo2",
                                            "nemotron",
                                            "nvfp4",
                                            "olmo2",
                                            "olmo3",
                                            "olmo_hybrid",
                                            "opencua",
                                            "paddleocr_vl",
                                            "persimmon",
                                            "phi3",
                                            "phi3_v",
                                            "phimoe",
                                            "pixtral",
                                            "smolvlm",
                                            "stablelm",
                                            "step3_vl",
                                            "umt5",
                                            "vipllava",
                                            "voxtral",
                                            "xlm-roberta-xl"};

// Where no class is named: types with a class of their own.
constexpr std::string_view kGpt2Types[] = {"codegen", "dbrx", "gpt2", "gpt_neo",   "gptj",
                                           "jais2",   "opt",  "phi",  "starcoder2"};
constexpr std::string_view kQwen2Types[] = {"qwen2",     "qwen2_5_vl", "qwen2_moe", "qwen2_vl",     "qwen3",
                                            "qwen3_moe", "qwen3_next", "qwen3_vl",  "qwen3_vl_moe", "internvl"};
// and those without one.
constexpr std::string_view kClasslessTypes[] = {"",
                                                "afmoe",
                                                "apertus",
                                                "arcee",
                                                "bamba",
                                                "bitnet",
                                                "bloom",
                                                "deepseek_v2",
                                                "deepseek_v3",
                                                "dots1",
                                                "exaone4",
                                                "falcon",
                                                "falcon_h1",
                                                "gpt_oss",
                                                "helium",
                                                "hunyuan_v1_dense",
                                                "lfm2",
                                                "llama",
                                                "llama4",
                                                "llama4_text",
                                                "minimax",
                                                "nemotron_h",
                                                "seed_oss",
                                                "smollm3"};

template <size_t N>
bool is_one_of(std::string_view type, const std::string_view (&types)[N]) {
  return std::find(std::begin(types), std::end(types), type) != std::end(types);
}

}  // namespace

bool takes_files_as_they_are(std::string_view tokenizer_class) {
  return tokenizer_class == "PreTrainedTokenizer" || tokenizer_class == kPlain;
}

std::string tokenizer_class(std::string declared, std::string_view model_type) {
  if (is_one_of(model_type, kPlainTypes)) return kPlain;
  if (model_type == "qwen2") return "Qwen2Tokenizer";
  if (declared.ends_with("Fast")) declared.resize(declared.size() - 4);
  if (!declared.empty()) return declared;
  if (is_one_of(model_type, kGpt2Types)) return "GPT2Tokenizer";
  if (is_one_of(model_type, kQwen2Types)) return "Qwen2Tokenizer";
  return is_one_of(model_type, kClasslessTypes) ? kPlain : "";
}

}  // namespace swage::data
