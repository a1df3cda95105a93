// Tiny models of random weights, as folders, and recipes of every modifier for them.
// tests/data/model/architectures.json has a config for each family and each of its layouts.
#pragma once
#include <ATen/ATen.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "swage/base/error.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/io/safetensors.h"
#include "swage/job/compress_job.h"
#include "swage/model/model.h"
#include "swage/modifiers/chain.h"

namespace swage::pipeline {

namespace fs = std::filesystem;
using TensorMap = std::map<std::string, at::Tensor>;

inline constexpr int64_t kVocabulary = 700;  // of tests/data/data/tiny_bpe

inline std::string text_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Name -> config.
inline std::map<std::string, Json> configs() {
  const fs::path path = fs::path(SWAGE_TEST_DATA) / "model" / "architectures.json";
  const Json all = parse_json(text_of_file(path), path.string());
  std::map<std::string, Json> out;
  for (const auto& [name, config] : all.as_object()) {
    Json one = config;
    one.set("vocab_size", kVocabulary);
    if (one.find("vocab_size_per_layer_input") != nullptr) one.set("vocab_size_per_layer_input", kVocabulary);
    if (const Json* nested = config.find("text_config")) {
      Json text = *nested;
      text.set("vocab_size", kVocabulary);
      one.set("text_config", std::move(text));
    }
    one.set("torch_dtype", "bfloat16");
    out.emplace(name, std::move(one));
  }
  return out;
}

class InMemory : public checkpoint::WeightSource {
 public:
  std::vector<int64_t> shape(const std::string& name) const override {
    const auto found = tensors.find(name);
    return found == tensors.end() ? std::vector<int64_t>() : found->second.sizes().vec();
  }
  at::Tensor load(const std::string& name) const override { return tensors.at(name).to(at::kFloat); }
  std::optional<scheme::QuantizationArgs> input_quantization(const std::string&) const override { return {}; }
  void prefetch(const std::vector<std::string>&) const override {}

  TensorMap tensors;
};

// Weights that let nothing vanish or grow over three layers, exact in bf16.
inline InMemory random_weights(const Json& config) {
  at::manual_seed(5);
  InMemory out;
  for (const io::TensorSpec& spec : model::make_model(config, out)->required_tensors()) {
    const bool matrix = spec.shape.size() > 1, bias = spec.name.ends_with("bias");
    const at::Tensor draw = matrix ? at::randn(spec.shape).mul_(0.15)
                            : bias ? at::randn(spec.shape).mul_(0.1)
                                   : at::rand(spec.shape).add_(0.5);
    out.tensors[spec.name] = draw.to(at::kBFloat16);
  }
  return out;
}

using Modifiers = std::vector<std::unique_ptr<modifiers::Modifier>>;

// A recipe by its modifiers' names and fields.
using Recipe = std::vector<std::pair<const char*, const char*>>;
inline const std::map<std::string, Recipe>& recipes() {
  static const std::map<std::string, Recipe> all = {
      {"gptq", {{"gptq", R"({"scheme": "W4A16", "group_size": 8, "ignore": ["lm_head"]})"}}},
      {"best", {{"gptq", R"({"scheme": "W4A16", "group_size": 8, "quality": "best", "ignore": ["lm_head"]})"}}},
      {"awq", {{"awq", R"({})"}, {"gptq", R"({"scheme": "W4A16_ASYM", "group_size": 8, "ignore": ["lm_head"]})"}}},
      {"smoothquant",
       {{"smoothquant", R"({"smoothing_strength": 0.7})"}, {"gptq", R"({"scheme": "W8A8", "ignore": ["lm_head"]})"}}},
      {"sparsegpt", {{"sparsegpt", R"({"sparsity": 0.5, "mask_structure": "2:4", "ignore": ["lm_head"]})"}}},
      {"fp8 and cache",
       {{"rtn",
         R"({"scheme": "FP8", "ignore": ["lm_head"], "kv_cache_scheme": {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": true}})"}}},
      {"nvfp4", {{"rtn", R"({"scheme": "NVFP4A16", "ignore": ["lm_head", "re:.*experts.*"]})"}}},
      {"budget",
       {{"rtn", R"({"target_bits": 7, "group_size": 8, "candidates": ["W4A16", "W8A16"], "ignore": ["lm_head"]})"}}},
      {"rotated",
       {{"spinquant", R"({"rotations": ["R1", "R2"], "transform_type": "random-matrix"})"},
        {"rtn", R"({"scheme": "W4A16", "group_size": 8, "ignore": ["lm_head"]})"}}},
  };
  return all;
}

inline Modifiers modifiers_of(const Recipe& recipe) {
  Modifiers out;
  for (const auto& [name, fields] : recipe)
    out.push_back(modifiers::make_modifier(name, parse_json(fields, "fields"), "test"));
  return out;
}

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path(fs::temp_directory_path() / cat("swage_tiny_models_", name, "_", ::getpid())) {
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  const fs::path path;
};

inline void write_model(const fs::path& folder, const Json& config, const InMemory& weights) {
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << config.dump();
  for (const char* file : {"tokenizer.json", "tokenizer_config.json"})
    fs::copy_file(fs::path(SWAGE_TEST_DATA) / "data" / "tiny_bpe" / file, folder / file);
  std::vector<io::TensorSpec> specs;
  std::string data;
  for (const auto& [name, tensor] : weights.tensors) {
    specs.push_back({name, io::Dtype::BF16, tensor.sizes().vec()});
    data.append(static_cast<const char*>(tensor.const_data_ptr()), size_t(tensor.nbytes()));
  }
  std::ofstream(folder / "model.safetensors", std::ios::binary) << io::safetensors_header(specs) << data;
}

inline CompressJob job_of(const fs::path& source, const fs::path& target, const Modifiers& modifiers) {
  CompressJob job;
  job.source = source;
  job.target = target;
  job.chain = modifiers::make_chain(modifiers);
  job.recipe_yaml = "test: {}\n";
  job.data_file = fs::path(SWAGE_TEST_DATA) / "data" / "calib_small.jsonl";
  job.num_calibration_samples = 4;
  job.max_seq_length = 16;
  job.overwrite = true;
  job.check = false;
  return job;
}

}  // namespace swage::pipeline
