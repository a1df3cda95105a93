// Whole checkpoints: what compressed-tensors makes of every weight, and every kind of layout that has a manifest.
#include <cstdio>

#include "swage/format/checkpoint_test_support.h"
#include "swage/format/random_weight_test_support.h"
#include "swage/format/weight_source.h"
#include "swage/scheme/presets.h"

namespace swage::format {
namespace {

using checkpoint::Reader;

std::string fnv1a(const at::Tensor& values) {
  uint64_t hash = 0xcbf29ce484222325;
  const uint8_t* bytes = static_cast<const uint8_t*>(values.const_data_ptr());
  for (size_t i = 0; i < values.nbytes(); ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

// The library computes in bf16, or in f32 under a global scale, and rounds once; so does this.
TEST(CheckpointsGolden, EveryWeightIsTheReferencesBitForBit) {
  const Json expected = golden::read_json(golden::roots()[0] / "checkpoints" / "dequantized.json");
  int compared = 0;
  for (const fs::path& root : golden::roots()) {
    for (const auto& [folder, hashes] : expected.as_object()) {
      const fs::path path = root / "checkpoints" / folder;
      if (!fs::exists(path / "model.safetensors") && !fs::exists(path / "model.safetensors.index.json")) continue;
      SCOPED_TRACE(path.string());
      const Reader reader(path);
      const CheckpointWeights weights(reader);
      EXPECT_EQ(weights.quantized_modules().size(), hashes.as_object().size());
      for (const auto& [name, hash] : hashes.as_object()) {
        EXPECT_EQ(fnv1a(weights.load(name).to(at::kBFloat16).contiguous()), hash.as_string()) << name;
        ++compared;
      }
    }
  }
  std::cout << compared << " weights\n";
  EXPECT_GE(compared, golden::roots().size() > 1 ? 9 * 7 : 4 * 7);
}

// --- checkpoints of which only names, types and shapes are known
// -------------------------------------------------------

at::Tensor random_tensor(const std::string& name, at::ScalarType type, const std::vector<int64_t>& shape) {
  const bool positive = name.find("scale") != std::string::npos;
  if (type == at::kByte) return at::randint(0, positive ? 200 : 256, shape, at::kByte);
  if (type == at::kChar) return at::randint(-128, 128, shape, at::kChar);
  if (type == at::kInt) return at::randint(-(1ll << 31), 1ll << 31, shape, at::kLong).to(at::kInt);
  return (positive ? at::rand(shape).add(0.01) : at::randn(shape)).to(type);
}

// Random contents for every tensor of a manifest.
golden::Tensors tensors_of(const Json& manifest) {
  at::manual_seed(7);
  golden::Tensors tensors;
  for (const auto& [name, entry] : manifest.at("tensors").as_object()) {
    std::vector<int64_t> shape;
    for (const Json& size : entry.at("shape").as_array()) shape.push_back(size.as_int());
    tensors[name] = random_tensor(name, golden::scalar_type(entry.at("dtype").as_string()), shape);
  }
  for (auto& [name, tensor] : tensors) {
    if (name.size() < 13 || name.substr(name.size() - 13) != ".weight_shape") continue;
    const at::Tensor& packed = tensors.at(name.substr(0, name.size() - 5) + "packed");
    const int64_t per_word = name.find("embed") != std::string::npos ? 4 : 8;  // 8 bits there, 4 elsewhere
    tensor = at::tensor({packed.size(0), packed.size(1) * per_word}, at::kLong);
  }
  return tensors;
}

struct Made {
  explicit Made(const std::string& name) {
    const fs::path golden = golden::roots()[0] / "checkpoints" / name;
    tensors = tensors_of(golden::read_json(golden / "manifest.json"));
    write_checkpoint(folder.path(), golden::read_json(golden / "config.json"), tensors);
    reader.emplace(folder.path());
    weights.emplace(*reader);
  }
  Folder folder;
  golden::Tensors tensors;
  std::optional<Reader> reader;
  std::optional<CheckpointWeights> weights;
};

const std::string kLayer = "model.layers.0.";

TEST(CheckpointsGolden, EveryTensorOfEveryManifestLoads) {
  for (const char* name :
       {"fp8-static-kv", "attention-quant", "kv-only-attn-head", "mixed-nvfp4-fp8", "w4a16-frozen-dense",
        "w4a16-quantized-embedding", "w4a16-quantized-lm-head", "w4a16-tied"}) {
    SCOPED_TRACE(name);
    const Made made(name);
    for (const std::string& module : made.weights->quantized_modules()) {
      const std::vector<int64_t> shape = made.weights->shape(module + ".weight");
      ASSERT_EQ(shape.size(), 2u) << module;
      EXPECT_EQ(made.weights->load(module + ".weight").sizes().vec(), shape) << module;
    }
    for (const auto& [tensor, values] : made.tensors) {
      if (at::isFloatingType(values.scalar_type()) && values.element_size() > 1 &&
          tensor.find(".weight") == std::string::npos) {
        EXPECT_TRUE(golden::same_bits(made.weights->load(tensor), values.to(at::kFloat))) << tensor;
      }
    }
  }
}

TEST(CheckpointsGolden, StaticInputsAndTheCacheHaveTheirScales) {
  const Made made("fp8-static-kv");
  EXPECT_EQ(made.weights->input_quantization(kLayer + "mlp.up_proj"), scheme::preset("FP8").input_activations);
  EXPECT_EQ(made.weights->kv_cache_quantization(), scheme::preset("FP8").weights);
  for (const char* scale : {"mlp.up_proj.input_scale", "self_attn.k_scale", "self_attn.v_scale"}) {
    EXPECT_EQ(made.weights->load(kLayer + scale).numel(), 1) << scale;
  }
  EXPECT_EQ(made.weights->quantized("model.layers.0.mlp.up_proj").format, "float-quantized");
}

TEST(CheckpointsGolden, AttentionHasItsQueriesQuantized) {
  const Made made("attention-quant");
  const auto queries = made.weights->input_quantization(kLayer + "self_attn");
  ASSERT_TRUE(queries);
  EXPECT_EQ(queries->strategy, scheme::Strategy::AttnHead);
  EXPECT_EQ(made.weights->load(kLayer + "self_attn.q_scale").numel(), 4);
  EXPECT_EQ(made.weights->load(kLayer + "self_attn.k_zero_point").numel(), 2);
  EXPECT_EQ(made.weights->kv_cache_quantization()->strategy, scheme::Strategy::AttnHead);
  const Made cache_only("kv-only-attn-head");
  EXPECT_TRUE(cache_only.weights->quantized_modules().empty());
  EXPECT_EQ(cache_only.weights->load(kLayer + "self_attn.v_scale").sizes().vec(), (std::vector<int64_t>{2, 1, 1}));
}

TEST(CheckpointsGolden, MixedPrecisionHasAFormatAModule) {
  const Made made("mixed-nvfp4-fp8");
  EXPECT_EQ(made.weights->quantized(kLayer + "mlp.down_proj").format, "float-quantized");
  const QuantizedModule gate = made.weights->quantized(kLayer + "mlp.gate_proj");
  EXPECT_EQ(gate.format, "nvfp4-pack-quantized");
  EXPECT_EQ(gate.weight.global_scale.numel(), 1);
  EXPECT_EQ(made.weights->input_quantization(kLayer + "mlp.gate_proj")->dynamic, scheme::Dynamic::Local);
  EXPECT_EQ(made.weights->load(kLayer + "mlp.gate_proj.input_global_scale").numel(), 1);
}

TEST(CheckpointsGolden, FrozenWeightsAndQuantizedTablesAreRead) {
  const Made frozen("w4a16-frozen-dense");
  EXPECT_EQ(frozen.weights->quantized(kLayer + "mlp.gate_proj").format, "dense");
  const Made table("w4a16-quantized-embedding");
  EXPECT_EQ(table.weights->quantized("model.embed_tokens").args.num_bits, 8);
  const Made head("w4a16-quantized-lm-head");
  EXPECT_EQ(head.weights->quantized("lm_head").args.num_bits, 4);
}

// --- what no manifest has
// ----------------------------------------------------------------------------------------------

golden::Tensors of_module(const std::string& module, const golden::Case& one) {
  golden::Tensors tensors;
  for (const auto& [name, tensor] : one.tensors) {
    if (name.rfind("compressed.", 0) == 0) tensors[module + name.substr(10)] = tensor;
  }
  return tensors;
}

TEST(CheckpointsGolden, WeightsWithoutTheirZerosAreRead) {
  int compared = 0;
  for (const golden::Case& one :
       golden::cases("ct-0.13.0", {"sparse-bitmask", "sparse-24-bitmask", "float-quantized + sparse-24-bitmask"})) {
    if (!one.tensors.count("compressed.bitmask")) continue;
    SCOPED_TRACE(one.name);
    const bool quantized = one.tensors.count("quantized.weight");
    QuantizedWeight expected;
    if (quantized) expected = {one.tensors.at("quantized.weight"), one.tensors.at("compressed.weight_scale")};
    const at::Tensor values = quantized ? dequantize(expected) : one.tensors.at("dense.weight").to(at::kFloat);
    Json config = config_for(scheme::preset(quantized ? "FP8_DYNAMIC" : "UNQUANTIZED"));
    if (!quantized)
      config.set("quantization_config",
                 parse_json(R"({"config_groups": {}, "sparsity_config": {"format": "sparse-bitmask"}})", "test"));
    const Folder folder;
    write_checkpoint(folder.path(), config, of_module("a", one));
    const Reader reader(folder.path());
    const CheckpointWeights weights(reader);
    EXPECT_EQ(weights.shape("a.weight"), values.sizes().vec());
    EXPECT_TRUE(golden::same_bits(weights.load("a.weight"), values));
    ++compared;
  }
  EXPECT_GE(compared, golden::roots().size() > 1 ? 6 : 3);
}

TEST(CheckpointsGolden, BrokenSparseWeightsNameTheModule) {
  for (const golden::Case& one : golden::cases("ct-0.13.0", {"sparse-bitmask"})) {
    golden::Tensors tensors = of_module("a", one);
    tensors["a.compressed"] = tensors["a.compressed"].to(at::kChar);
    const Folder folder;
    write_checkpoint(folder.path(), Json::object(), tensors);
    const Reader reader(folder.path());
    expect_error(ErrorKind::CorruptData, "a: compressed: expected floats",
                 [&] { CheckpointWeights(reader).load("a.weight"); });
    tensors["a.shape"] = at::tensor({64, 120}, at::kLong);
    write_checkpoint(folder.path(), Json::object(), tensors);
    const Reader again(folder.path());
    expect_error(ErrorKind::CorruptData, "a: bitmask: shape", [&] { CheckpointWeights(again).shape("a.weight"); });
    break;
  }
}

TEST(CheckpointsGolden, ExponentsOfVersion013AreTwoTooSmall) {
  const scheme::Scheme scheme = scheme::preset("MXFP4A16");
  const QuantizedWeight weight = random_weight(*scheme.weights, 4, 64);
  golden::Tensors tensors;
  for (const auto& [suffix, tensor] : format_for(scheme).pack(*scheme.weights, weight)) tensors["a." + suffix] = tensor;
  for (const char* version : {"0.13.0", "0.14.0", ""}) {
    scheme::QuantizationConfig config = scheme::config_of(scheme, {});
    config.version = version;
    Json json = Json::object();
    json.set("quantization_config", to_json(config));
    const Folder folder;
    write_checkpoint(folder.path(), json, tensors);
    const Reader reader(folder.path());
    const float factor = version == std::string("0.13.0") ? 4 : 1;
    EXPECT_TRUE(at::equal(CheckpointWeights(reader).load("a.weight"), dequantize(weight) * factor)) << version;
  }
}

TEST(CheckpointsGolden, ScalesOfKeysAndValuesHaveHadSeveralNames) {
  for (const char* name : {"attn.k_scale", "attn.attn.k_scale", "attn.k_proj.k_scale", "attn.k_proj.output_scale"}) {
    const Folder folder;
    write_checkpoint(folder.path(), Json::object(), {{name, at::full({1}, 0.5, at::kBFloat16)}});
    const Reader reader(folder.path());
    const CheckpointWeights weights(reader);
    EXPECT_EQ(weights.load("attn.k_scale").item<float>(), 0.5f) << name;
    EXPECT_EQ(weights.shape("attn.k_scale"), std::vector<int64_t>{1});
    EXPECT_FALSE(weights.kv_cache_quantization());
  }
}

TEST(CheckpointsGolden, ZeroPointsOfInputsAreRead) {
  const Folder folder;
  write_checkpoint(folder.path(), Json::object(), {{"a.input_zero_point", at::full({1}, -3, at::kChar)}});
  const Reader reader(folder.path());
  EXPECT_EQ(CheckpointWeights(reader).load("a.input_zero_point").item<float>(), -3);
}

}  // namespace
}  // namespace swage::format
