#include "swage/format/weight_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <limits>
#include <set>

#include "swage/base/error.h"
#include "swage/checkpoint/writer.h"
#include "swage/format/checkpoint_test_support.h"
#include "swage/format/golden_test_support.h"
#include "swage/format/random_weight_test_support.h"
#include "swage/scheme/presets.h"
#include "tests/support/reference_quantize.h"

namespace swage::format {
namespace {

namespace fs = std::filesystem;
using checkpoint::Reader;

// One linear "a" of this scheme and a dense "norm".
golden::Tensors one_linear(const scheme::Scheme& scheme, int64_t rows = 16, int64_t columns = 256) {
  golden::Tensors tensors;
  const auto stored = format_for(scheme).pack(*scheme.weights, random_weight(*scheme.weights, rows, columns));
  for (const auto& [suffix, tensor] : stored) tensors["a." + suffix] = tensor;
  tensors["norm.weight"] = at::ones({columns}, at::kBFloat16);
  return tensors;
}

std::vector<fs::path> golden_checkpoints(const std::set<std::string>& names) {
  std::vector<fs::path> found;
  for (const fs::path& root : golden::roots()) {
    for (const std::string& name : names) {
      const fs::path folder = root / "checkpoints" / name;
      const bool whole =
          fs::exists(folder / "model.safetensors") || fs::exists(folder / "model.safetensors.index.json");
      if (whole) found.push_back(folder);
    }
  }
  for (const fs::path& folder : found) std::cout << "checkpoint " << folder.string() << "\n";
  return found;
}

TEST(CheckpointWeights, LoadsGoldenCheckpointsOntoTheirGrids) {
  for (const fs::path& folder : golden_checkpoints({"w4a16", "w4a16_asym", "w8a8", "fp8_dynamic", "w4a16-sharded"})) {
    SCOPED_TRACE(folder.string());
    const Reader reader(folder);
    const CheckpointWeights weights(reader);
    ASSERT_EQ(weights.quantized_modules().size(), 7u);
    for (const std::string& module : weights.quantized_modules()) {
      const std::string name = module + ".weight";
      const at::Tensor values_OI = weights.load(name);
      EXPECT_EQ(values_OI.scalar_type(), at::kFloat);
      EXPECT_EQ(values_OI.sizes().vec(), weights.shape(name));
      const QuantizedModule stored = weights.quantized(module);
      EXPECT_TRUE(golden::same_bits(values_OI, dequantize_with_tensor_ops(stored.weight)));
      // On the grid: whole multiples of the scale within the codes' range. The division errs by half an ulp of at most
      // 448.
      const int64_t columns = columns_per_scale(stored.args, values_OI.size(1));
      at::Tensor codes_OI = values_OI / stored.weight.scale_OG.to(at::kFloat).repeat_interleave(columns, 1);
      if (!stored.args.symmetric) codes_OI = codes_OI + stored.weight.zero_point_OG.repeat_interleave(columns, 1);
      EXPECT_LE((codes_OI - stored.weight.codes_OI.to(at::kFloat)).abs().max().item<float>(), 448 * 0x1p-23f);
      EXPECT_GE(codes_OI.min().item<float>(), code_min(stored.args) - 1e-3);
      EXPECT_LE(codes_OI.max().item<float>(), code_max(stored.args) + 1e-3);
    }
    for (const io::TensorSpec& spec : reader.tensors()) {
      if (spec.dtype == io::Dtype::BF16) {
        EXPECT_TRUE(at::equal(weights.load(spec.name), reader.read(spec.name).to(at::kFloat))) << spec.name;
      }
    }
  }
}

// The compressed checkpoints were made of the dense one: the reference twin finds their very codes.
TEST(CheckpointWeights, GoldenCodesAreThoseOfTheDenseCheckpoint) {
  for (const fs::path& folder : golden_checkpoints({"w4a16", "w4a16_asym", "w8a8", "fp8_dynamic"})) {
    if (!fs::exists(folder.parent_path() / "dense-bf16" / "model.safetensors")) continue;
    SCOPED_TRACE(folder.string());
    const Reader reader(folder), dense_reader(folder.parent_path() / "dense-bf16");
    const CheckpointWeights weights(reader), dense(dense_reader);
    EXPECT_FALSE(dense.quantization_config());
    EXPECT_TRUE(dense.quantized_modules().empty());
    for (const std::string& module : weights.quantized_modules()) {
      const QuantizedModule stored = weights.quantized(module);
      reference::QuantizeSpec spec;
      spec.fp8 = stored.args.type == scheme::NumberType::Float;
      spec.bits = stored.args.num_bits;
      spec.symmetric = stored.args.symmetric;
      spec.group_size = stored.args.group_size.value_or(0);
      spec.parameters = spec.codes = at::kBFloat16;
      const reference::Quantized expected = reference::quantize(dense.load(module + ".weight"), spec);
      EXPECT_TRUE(golden::same_bits(stored.weight.codes_OI, expected.codes_OI)) << module;
      EXPECT_TRUE(golden::same_bits(stored.weight.scale_OG, expected.scale_OG)) << module;
    }
  }
}

TEST(CheckpointWeights, AnswersForModulesAndTensors) {
  const Folder folder;
  const scheme::Scheme scheme = scheme::preset("W8A8");
  write_checkpoint(folder.path(), config_for(scheme), one_linear(scheme));
  const Reader reader(folder.path());
  const CheckpointWeights weights(reader);
  EXPECT_EQ(weights.shape("a.weight"), (std::vector<int64_t>{16, 256}));
  EXPECT_EQ(weights.shape("norm.weight"), (std::vector<int64_t>{256}));
  EXPECT_TRUE(weights.shape("b.weight").empty());
  EXPECT_EQ(weights.input_quantization("a"), scheme.input_activations);
  EXPECT_EQ(weights.input_quantization("norm"), std::nullopt);
  EXPECT_EQ(weights.quantized("a").format, "int-quantized");
  EXPECT_EQ(weights.quantized("a").args, *scheme.weights);
  EXPECT_EQ(weights.quantized_scheme("norm"), nullptr);
  weights.prefetch({"a.weight", "norm.weight", "b.weight"});
  expect_error(ErrorKind::CorruptData, ": no tensor b.weight", [&] { weights.load("b.weight"); });
  expect_error(ErrorKind::InvalidArgument, "norm", [&] { weights.quantized("norm"); });
}

// As the source of another compression: values without what else the checkpoint says of its quantization.
TEST(CheckpointWeights, WeightsOnly) {
  const Folder folder;
  scheme::Scheme scheme = scheme::preset("FP8");
  golden::Tensors tensors = one_linear(scheme);
  tensors["a.input_scale"] = at::full({1}, 0.5, at::kBFloat16);
  tensors["a.bias"] = at::ones({16}, at::kBFloat16);
  write_checkpoint(folder.path(), config_for(scheme), tensors);
  const Reader reader(folder.path());
  const CheckpointWeights whole(reader), weights(reader, at::kCPU, {.weights_only = true});
  EXPECT_TRUE(whole.input_quantization("a").has_value());
  EXPECT_FALSE(weights.input_quantization("a").has_value());
  EXPECT_TRUE(weights.load("a.weight").equal(whole.load("a.weight")));
  EXPECT_EQ(weights.encoded_modules(), std::vector<std::string>{"a"});
  std::set<std::string> described;
  for (const io::TensorSpec& spec : reader.tensors()) {
    if (weights.describes_quantization(spec.name)) described.insert(spec.name);
  }
  EXPECT_EQ(described, (std::set<std::string>{"a.input_scale", "a.weight", "a.weight_scale"}));
}

TEST(CheckpointWeights, EachPresetIsWrittenAndReadBack) {
  at::manual_seed(7);
  for (const std::string& name : scheme::preset_names()) {
    SCOPED_TRACE(name);
    const Folder folder;
    const scheme::Scheme scheme = scheme::preset(name);
    if (!scheme.weights) continue;
    const golden::Tensors tensors = one_linear(scheme);
    write_checkpoint(folder.path(), config_for(scheme), tensors);
    const Reader reader(folder.path());
    const CheckpointWeights weights(reader);
    const TensorLookup lookup = [&](const std::string& suffix) {
      const auto found = tensors.find("a." + suffix);
      return found == tensors.end() ? at::Tensor() : found->second;
    };
    const QuantizedWeight expected = format_for(scheme).unpack(*scheme.weights, lookup);
    EXPECT_TRUE(golden::same_bits(weights.quantized("a").weight.codes_OI, expected.codes_OI));
    EXPECT_TRUE(golden::same_bits(weights.load("a.weight"), dequantize(expected)));
  }
}

// Five-bit codes, 72 in a row: both packings fill twelve words, and only the version tells them apart. (The golden
// cases are asymmetric, and zero points would tell through the number of rows; taken as symmetric, the same words have
// none.)
TEST(CheckpointWeights, TheVersionDecidesWhereShapesLeaveThePackingOpen) {
  for (const auto& [library, version] :
       {std::pair{"ct-0.20.0", "0.20.0"}, {"ct-0.13.0", "0.13.0"}, {"ct-0.20.0", ""}}) {
    for (const golden::Case& one : golden::cases(library, {"pack-quantized"})) {
      if (one.name != "int5_channel_asym_pack__normal_33x72__bf16") continue;
      SCOPED_TRACE(cat(library, " read as \"", version, "\""));
      scheme::QuantizationConfig config = scheme::parse_quantization_config(one.json.at("quantization_config"));
      config.groups.at(0).second.weights->symmetric = true;
      config.version = version;
      golden::Tensors tensors;
      for (const char* suffix : {"weight_packed", "weight_scale", "weight_shape"}) {
        tensors[std::string("a.") + suffix] = one.tensors.at(std::string("compressed.") + suffix);
      }
      const Folder folder;
      Json text = Json::object();
      text.set("quantization_config", to_json(config));
      write_checkpoint(folder.path(), text, tensors);
      const Reader reader(folder.path());
      // The fake-quantized weight is (q - z) * s.
      const at::Tensor scale_OG = one.tensors.at("qparam.weight_scale").to(at::kFloat);
      const at::Tensor fake_OI = one.tensors.at("fake_quant.weight").to(at::kFloat);
      const at::Tensor codes_OI = (fake_OI / scale_OG).round() + one.tensors.at("qparam.weight_zero_point");
      EXPECT_TRUE(at::equal(CheckpointWeights(reader).quantized("a").weight.codes_OI.to(at::kFloat), codes_OI));
    }
  }
}

TEST(CheckpointWeights, AGroupFormatMissingOrAnOldKeyIsRead) {
  const Folder folder;
  const scheme::Scheme scheme = scheme::preset("W4A16");
  const Json config =
      parse_json(R"({"compression_config": {"quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": {"group_0": {"targets": ["re:^a"], "weights": {"num_bits": 4, "type": "int", "symmetric": true, "group_size": 128,
      "strategy": "group", "block_structure": null, "actorder": null, "observer": "minmax", "observer_kwargs": {}}}}}})",
                 "test");
  write_checkpoint(folder.path(), config, one_linear(scheme));
  const Reader reader(folder.path());
  EXPECT_EQ(CheckpointWeights(reader).quantized("a").format, "pack-quantized");
}

TEST(CheckpointWeights, OtherMethodsAndFormatsAreRefused) {
  const golden::Tensors tensors = one_linear(scheme::preset("W4A16"));
  for (const std::string method : {"hqq", "bitsandbytes"}) {
    const Folder folder;
    write_checkpoint(folder.path(),
                     parse_json(R"({"quantization_config": {"bits": 4, "quant_method": ")" + method + "\"}}", "test"),
                     tensors);
    const Reader reader(folder.path());
    expect_error(ErrorKind::Unsupported, "\"" + method + "\"", [&] { CheckpointWeights{reader}; });
  }
  const Folder folder;
  scheme::Scheme other = scheme::preset("W4A16");
  other.format = "bit-sliced";
  write_checkpoint(folder.path(), config_for(other), tensors);
  const Reader reader(folder.path());
  expect_error(ErrorKind::Unsupported, "a: format \"bit-sliced\"", [&] { CheckpointWeights{reader}; });
}

TEST(CheckpointWeights, QuantizedModulesThatNoGroupTargetsAreCorrupt) {
  const Folder folder;
  const scheme::Scheme scheme = scheme::preset("W4A16");
  write_checkpoint(folder.path(), config_for(scheme, {"a"}), one_linear(scheme));
  const Reader reader(folder.path());
  expect_error(ErrorKind::CorruptData, "a stores a quantized weight", [&] { CheckpointWeights{reader}; });
}

TEST(CheckpointWeights, ErrorsNameTheModuleAndTheTensor) {
  const scheme::Scheme scheme = scheme::preset("W4A16_ASYM");
  const auto broken = [&](const std::string& name, const at::Tensor& replacement, const std::string& says) {
    const Folder folder;
    golden::Tensors tensors = one_linear(scheme);
    tensors.erase(name);
    if (replacement.defined()) tensors[name] = replacement;
    write_checkpoint(folder.path(), config_for(scheme), tensors);
    const Reader reader(folder.path());
    const CheckpointWeights weights(reader);
    expect_error(ErrorKind::CorruptData, says, [&] { weights.load("a.weight"); });
  };
  broken("a.weight_packed", {}, "a: weight_packed is missing");
  broken("a.weight_scale", {}, "a: weight_scale is missing");
  broken("a.weight_zero_point", {}, "a: weight_zero_point is missing");
  broken("a.weight_scale", at::ones({16, 3}), "a: weight_scale: expected shape [16, 2], found [16, 3]");
  broken("a.weight_packed", at::zeros({16, 32}, at::kByte), "a: weight_packed: expected Int");
  broken("a.weight_shape", at::tensor({16, 512}, at::kLong), "a: weight_shape: [16, 512]");
}

TEST(CheckpointWeights, WeightsThatAreNotFiniteAreNamed) {
  const Folder folder;
  const scheme::Scheme scheme = scheme::preset("W4A16");
  golden::Tensors tensors = one_linear(scheme);
  tensors["a.weight_scale"][3][1] = std::numeric_limits<float>::infinity();
  tensors["norm.weight"][255] = std::numeric_limits<float>::quiet_NaN();
  tensors["codes.weight"] = at::zeros({4}, at::kChar);
  write_checkpoint(folder.path(), config_for(scheme), tensors);
  const Reader reader(folder.path());
  const CheckpointWeights weights(reader), trusting(reader, at::kCPU, {.check_finite = false});
  expect_error(ErrorKind::Numerical, "a.weight holds NaN or infinity", [&] { weights.load("a.weight"); });
  expect_error(ErrorKind::Numerical, "norm.weight holds NaN or infinity", [&] { weights.load("norm.weight"); });
  EXPECT_NO_THROW(trusting.load("a.weight"));
  EXPECT_NO_THROW(trusting.load("norm.weight"));
  expect_error(ErrorKind::CorruptData, "codes.weight: expected floats of 16 to 64 bits, found I8",
               [&] { weights.load("codes.weight"); });
}

}  // namespace
}  // namespace swage::format
