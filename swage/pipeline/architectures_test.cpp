// Every architecture of the table, on tiny models of random weights: what is derived from its program leaves the
// function as it is, and every modifier gets through it with the layout that was planned.
// tests/data/model/architectures.json has a config for each family and each of its layouts.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "swage/base/error.h"
#include "swage/eval/forward.h"
#include "swage/format/weight_source.h"
#include "swage/io/safetensors.h"
#include "swage/model/stored_part.h"
#include "swage/modifiers/chain.h"
#include "swage/pipeline/compress.h"
#include "swage/resolve/rescaling.h"
#include "swage/views/rotated_weights.h"

namespace swage::pipeline {
namespace {

namespace fs = std::filesystem;
using TensorMap = std::map<std::string, at::Tensor>;

constexpr int64_t kVocabulary = 700;  // of tests/data/data/tiny_bpe

std::string text_of_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Name -> config.
std::map<std::string, Json> configs() {
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
InMemory random_weights(const Json& config) {
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

at::Tensor logits_of(const Json& config, const checkpoint::WeightSource& weights) {
  const auto model = model::make_model(config, weights);
  const at::Tensor ids_NL = (at::arange(2 * 20).view({2, 20}) * 37 % kVocabulary).to(at::kLong);
  model->load_ends(weights);
  std::vector<model::Flow> flows = eval::embed_rows(*model, ids_NL);
  eval::run_blocks(*model, weights, flows, Context(), [](int64_t) {});
  std::vector<at::Tensor> rows;
  for (const model::Flow& flow : flows) rows.push_back(model->logits(flow.hidden_TD));
  return at::cat(rows);
}

double difference(const at::Tensor& found, const at::Tensor& expected) {
  return ((found - expected).abs().max() / expected.abs().max()).item<double>();
}

// Three layers are some 30 chained roundings of 2^-24 on either side, which sums and norms multiply by their condition,
// about 50 with random weights.
constexpr double kTolerance = 2 * 30 * 50 * 0x1p-24;

TEST(Architectures, EachOfTheTableHasATinyModel) {
  std::set<std::string> covered;
  for (const auto& [name, config] : configs()) covered.insert(config.get_string("model_type", ""));
  for (const std::string& model_type : model::supported_model_types())
    EXPECT_TRUE(covered.contains(model_type)) << model_type;
}

// The weight [O, I] of a module of a block: a view of the tensor that holds it, which may be transposed or several's.
at::Tensor weight_of(const model::BlockShape& block, TensorMap& tensors, const std::string& name) {
  for (const auto* list : {&block.linears, &block.routers}) {
    for (const model::ModuleInfo& linear : *list) {
      if (linear.name != name) continue;
      const graph::Stored& stored = linear.stored;
      return model::weight_part(stored, linear.rows, tensors.at(stored.shared() ? stored.tensor : name + ".weight"));
    }
  }
  return tensors.at(name + ".weight");  // of a norm
}

// Divides the producers by random s and multiplies the consumers.
void smooth(const model::Model& model, TensorMap& tensors) {
  const model::ModelShape shape = model.shape();
  for (int64_t b = 0; b < model.blocks(); ++b) {
    const auto weight = [&](const std::string& name) { return weight_of(shape.blocks[size_t(b)], tensors, name); };
    for (const model::SmoothingPair& pair : model.smoothing_pairs(b)) {
      const int64_t columns = weight(pair.consumers[0]).size(1);
      const at::Tensor s_R = at::rand({columns / pair.repeats / pair.run, 1, pair.run}) + 0.5;
      const at::Tensor s_I = s_R.expand({-1, pair.repeats, -1}).reshape({-1}), s_O = scales_of_producer(s_I, pair);
      at::Tensor made = weight(pair.producer);
      if (pair.norm)
        made.add_(pair.offset).div_(s_O).sub_(pair.offset);
      else
        made.div_(s_O.unsqueeze(1));
      if (pair.bias) tensors.at(pair.producer + ".bias").div_(s_O);
      for (const std::string& consumer : pair.consumers) weight(consumer).mul_(s_I);
    }
  }
}

TEST(Architectures, SmoothingPairsLeaveTheFunctionAsItIs) {
  for (const auto& [name, config] : configs()) {
    InMemory weights = random_weights(config);
    for (auto& [tensor, values] : weights.tensors) values = values.to(at::kFloat);
    const at::Tensor expected = logits_of(config, weights);
    ASSERT_TRUE(expected.isfinite().all().item<bool>()) << name;
    const auto model = model::make_model(config, weights);
    smooth(*model, weights.tensors);
    EXPECT_LE(difference(logits_of(config, weights), expected), kTolerance) << name;
  }
}

// R1, R2 and what the reader computes; an architecture that cannot take one says so.
TEST(Architectures, RotationsLeaveTheFunctionAsItIsOrAreRefused) {
  using solvers::RotationKind;
  std::set<std::string> stream;
  for (const auto& [name, config] : configs()) {
    const InMemory weights = random_weights(config);
    const at::Tensor expected = logits_of(config, weights);
    const auto model = model::make_model(config, weights);
    for (const modifiers::RotationRequest& request :
         std::vector<modifiers::RotationRequest>{{.stream = true, .kind = RotationKind::RandomMatrix},
                                                 {.heads = true, .kind = RotationKind::RandomMatrix},
                                                 {.keys = true, .inner = true, .kind = RotationKind::RandomMatrix}}) {
      try {
        const RotatedWeights rotated(weights, *model, request, 11);
        EXPECT_LE(difference(logits_of(config_of_rotated(config, rotated), rotated), expected), kTolerance)
            << name << " " << request.stream << request.heads;
        if (request.stream) stream.insert(name);
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::Unsupported) << name << ": " << e.what();
      }
    }
  }
  for (const char* name : {"deepseek_v3", "gemma", "llama31", "phi3_short", "qwen3_moe", "granite"})
    EXPECT_TRUE(stream.contains(name)) << name;
}

// A recipe by its modifiers' names and fields.
using Recipe = std::vector<std::pair<const char*, const char*>>;
const std::map<std::string, Recipe>& recipes() {
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

class Folder {
 public:
  explicit Folder(const std::string& name)
      : path(fs::temp_directory_path() / cat("swage_architectures_", name, "_", ::getpid())) {
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  const fs::path path;
};

void write_model(const fs::path& folder, const Json& config, const InMemory& weights) {
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

CompressJob job_of(const fs::path& source, const fs::path& target,
                   const std::vector<std::unique_ptr<modifiers::Modifier>>& modifiers) {
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

// What the run wrote: a model with finite logits.
void check_output(const fs::path& folder, const std::string& what) {
  const checkpoint::Reader reader(folder);
  const format::CheckpointWeights weights(reader);
  EXPECT_TRUE(logits_of(reader.config(), weights).isfinite().all().item<bool>()) << what;
}

// The Writer refuses a tensor that was not planned, and to finish without one that was.
TEST(Architectures, EveryModifierWritesWhatItPlanned) {
  const Folder folder("all");
  std::map<std::string, std::string> refused;
  for (const auto& [name, config] : configs()) {
    const fs::path source = folder.path / name;
    write_model(source, config, random_weights(config));
    for (const auto& [recipe, parts] : recipes()) {
      std::vector<std::unique_ptr<modifiers::Modifier>> modifiers;
      for (const auto& [modifier, fields] : parts)
        modifiers.push_back(modifiers::make_modifier(modifier, parse_json(fields, "fields"), "test"));
      const std::string what = name + ", " + recipe;
      try {
        run_compress(job_of(source, folder.path / "out", modifiers), Context());
        check_output(folder.path / "out", what);
      } catch (const Error& e) {
        EXPECT_TRUE(e.kind() == ErrorKind::Unsupported || name == "gpt2" || recipe == "nvfp4")
            << what << ": " << e.what();
        refused[what] = e.what();
      }
    }
    fs::remove_all(source);
  }
  for (const auto& [what, why] : refused) std::cout << "refused: " << what << ": " << why << "\n";
}

}  // namespace
}  // namespace swage::pipeline
