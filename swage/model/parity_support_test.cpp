#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "swage/base/error.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {

namespace fs = std::filesystem;

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TensorMap read_safetensors(const fs::path& path) {
  const std::string text = read_text(path);
  uint64_t length = 0;
  std::memcpy(&length, text.data(), 8);
  const std::map<std::string, at::ScalarType> types = {
      {"F32", at::kFloat}, {"BF16", at::kBFloat16}, {"I64", at::kLong}, {"I8", at::kChar}};
  TensorMap out;
  const Json header = parse_json(text.substr(8, length), path.string());
  for (const auto& [name, entry] : header.as_object()) {
    if (name == "__metadata__") continue;
    std::vector<int64_t> shape;
    for (const Json& size : entry.at("shape").as_array()) shape.push_back(size.as_int());
    const int64_t begin = entry.at("data_offsets").as_array()[0].as_int();
    char* data = const_cast<char*>(text.data()) + 8 + length + begin;
    out[name] = at::from_blob(data, shape, at::TensorOptions(types.at(entry.at("dtype").as_string()))).clone();
  }
  return out;
}

std::vector<int64_t> MapSource::shape(const std::string& name) const {
  const auto found = tensors.find(name);
  return found == tensors.end() ? std::vector<int64_t>() : found->second.sizes().vec();
}

at::Tensor MapSource::load(const std::string& name) const {
  const auto found = tensors.find(name);
  SWAGE_CHECK(found != tensors.end(), CorruptData, "no tensor ", name);
  return found->second.to(at::kFloat);
}

std::optional<scheme::QuantizationArgs> MapSource::input_quantization(const std::string& module) const {
  const auto found = inputs.find(module);
  return found == inputs.end() ? std::nullopt : std::optional(found->second);
}

fs::path parity_folder(const std::string& name) {
  const fs::path full = fs::path(SWAGE_FULL_DATA) / "parity" / name;
  return fs::exists(full) ? full : fs::path(SWAGE_TEST_DATA) / "model" / name;
}

fs::path golden_io(const fs::path& folder) {
  const fs::path text = fs::path(SWAGE_TEST_DATA) / "model" / "text_io" / (folder.filename().string() + ".safetensors");
  return fs::exists(text) ? text : folder / "io.safetensors";
}

std::vector<fs::path> parity_folders() {
  // Not falcon_rw: its golden logits are those of eager attention, which in transformers 5.17 adds the slopes twice;
  // swage has the logits of its default, sdpa.
  const std::vector<std::string> names = {"afmoe",
                                          "apertus",
                                          "arcee",
                                          "bamba",
                                          "bitnet",
                                          "bloom",
                                          "bloom_heads6",
                                          "codegen",
                                          "cohere",
                                          "cohere2",
                                          "cohere_qknorm",
                                          "deepseek_v2",
                                          "deepseek_v2_lite",
                                          "deepseek_v3",
                                          "deepseek_v32",
                                          "dots1",
                                          "ernie4_5",
                                          "ernie4_5_moe",
                                          "exaone4",
                                          "exaone4_full",
                                          "exaone_moe",
                                          "falcon_11b",
                                          "falcon_40b",
                                          "falcon_7b",
                                          "falcon_h1",
                                          "falcon_mamba",
                                          "flex_olmo",
                                          "gemma",
                                          "gemma2",
                                          "gemma3_text",
                                          "gemma3_vl",
                                          "gemma3n_text",
                                          "gemma4_text",
                                          "gemma4_text_dense",
                                          "gemma4_text_moe",
                                          "glm",
                                          "glm4",
                                          "glm4_moe",
                                          "glm4_moe_lite",
                                          "glm_moe_dsa",
                                          "gpt2",
                                          "gpt2_scaled",
                                          "gpt_bigcode",
                                          "gpt_bigcode_mha",
                                          "gpt_neo",
                                          "gpt_neox",
                                          "gpt_neox_sequential",
                                          "gpt_oss",
                                          "gptj",
                                          "granite",
                                          "granitemoe",
                                          "granitemoehybrid",
                                          "granitemoehybrid_dense",
                                          "granitemoeshared",
                                          "helium",
                                          "hunyuan_v1_dense",
                                          "hunyuan_v1_moe",
                                          "jamba",
                                          "kimi_linear",
                                          "lfm2",
                                          "lfm2_moe",
                                          "llama2_mha",
                                          "llama31",
                                          "llama32_tied",
                                          "llama4_text",
                                          "llama4_vl",
                                          "llama_bias",
                                          "llama_rope_dynamic",
                                          "llama_rope_linear",
                                          "llama_rope_yarn",
                                          "llava",
                                          "mamba",
                                          "mamba2",
                                          "minicpm3",
                                          "minimax",
                                          "minimax_m2",
                                          "ministral",
                                          "ministral3",
                                          "mistral",
                                          "mistral3",
                                          "mistral4",
                                          "mistral_nemo",
                                          "mixtral",
                                          "mllama",
                                          "mpt",
                                          "mpt_clip_heads6",
                                          "nemotron",
                                          "nemotron_h",
                                          "olmo",
                                          "olmo2",
                                          "olmo3",
                                          "olmo_hybrid",
                                          "olmoe",
                                          "opt",
                                          "opt_350m",
                                          "phi",
                                          "phi3",
                                          "phi3_short",
                                          "phi4_mini",
                                          "phimoe",
                                          "pixtral_llava",
                                          "qwen2",
                                          "qwen2_5_vl",
                                          "qwen2_moe",
                                          "qwen2_sliding",
                                          "qwen2_vl",
                                          "qwen2_yarn",
                                          "qwen3",
                                          "qwen3_5_moe_text",
                                          "qwen3_5_moe_text_fused",
                                          "qwen3_5_moe_vl",
                                          "qwen3_5_text",
                                          "qwen3_5_vl",
                                          "qwen3_moe",
                                          "qwen3_moe_fused",
                                          "qwen3_next",
                                          "qwen3_untied_yarn",
                                          "qwen3_vl",
                                          "qwen3_vl_moe",
                                          "seed_oss",
                                          "smollm3",
                                          "solar_open",
                                          "stablelm",
                                          "stablelm_parallel",
                                          "starcoder2",
                                          "zamba2"};
  std::vector<fs::path> out;
  for (const std::string& name : names) {
    if (fs::exists(parity_folder(name) / "io.safetensors")) out.push_back(parity_folder(name));
  }
  return out;
}

GoldenModel load_golden(const fs::path& folder, const std::string& config) {
  const fs::path renamed = folder / "model.hub.safetensors";
  const bool hub = config == "config.hub.json" && fs::exists(renamed);
  GoldenModel out;
  out.config = parse_json(read_text(folder / config), (folder / config).string());
  out.weights = std::make_unique<MapSource>(read_safetensors(hub ? renamed : folder / "model.safetensors"));
  out.model = make_model(out.config, *out.weights);
  out.model->load_ends(*out.weights);
  for (int64_t i = 0; i < out.model->blocks(); ++i) out.blocks.push_back(out.model->load_block(i, *out.weights));
  return out;
}

double relative_error(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  if (a.sizes() != b.sizes()) return INFINITY;
  return ((a.to(at::kDouble) - b.to(at::kDouble)).abs().max() / b.to(at::kDouble).abs().max()).item<double>();
}

}  // namespace swage::model
