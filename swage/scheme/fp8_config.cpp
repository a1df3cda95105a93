#include "swage/scheme/fp8_config.h"

#include "swage/base/error.h"
#include "swage/scheme/parse_support.h"

namespace swage::scheme {
namespace {

std::string fp8_method_of(const Json& json) { return lower_case(json.get_string("quant_method", "")); }

// null: scales of rows or of the whole tensor, which the file tells.
std::optional<std::pair<int64_t, int64_t>> block_of(const Json& json) {
  const Json* size = json.find("weight_block_size");
  if (size == nullptr || size->is_null()) return std::nullopt;
  const bool two =
      size->is_array() && size->as_array().size() == 2 && size->as_array()[0].is_int() && size->as_array()[1].is_int();
  SWAGE_CHECK(two && size->as_array()[0].as_int() > 0 && size->as_array()[1].as_int() > 0, CorruptData,
              "weight_block_size: expected two positive sizes, found ", size->dump());
  return std::pair(size->as_array()[0].as_int(), size->as_array()[1].as_int());
}

QuantizationArgs fp8(Strategy strategy, Dynamic dynamic = Dynamic::No) {
  QuantizationArgs args;
  args.type = NumberType::Float;
  args.strategy = strategy;
  args.dynamic = dynamic;
  return args;
}

// Inputs at run time: by the columns of a block, or by token.
QuantizationArgs inputs_of(const Json& json, const std::optional<std::pair<int64_t, int64_t>>& block) {
  const std::string scheme = lower_case(json.get_string("activation_scheme", "dynamic"));
  SWAGE_CHECK(scheme == "dynamic" || scheme == "static", CorruptData,
              "activation_scheme: expected dynamic or static, found \"", scheme, "\"");
  if (scheme == "static") return fp8(Strategy::Tensor);
  if (!block) return fp8(Strategy::Token, Dynamic::Yes);
  QuantizationArgs args = fp8(Strategy::Group, Dynamic::Yes);
  args.group_size = block->second;
  return args;
}

}  // namespace

bool is_fp8_method(const Json& quantization_config) {
  if (!quantization_config.is_object() || quantization_config.find("quant_method") == nullptr) return false;
  const std::string method = fp8_method_of(quantization_config);
  return method == "fp8" || method == "fbgemm_fp8";
}

QuantizationConfig parse_fp8_config(const Json& json) {
  const std::string kind = lower_case(json.get_string(json.find("fmt") != nullptr ? "fmt" : "weight_dtype", "e4m3"));
  SWAGE_CHECK(kind == "e4m3" || kind == "float8_e4m3fn", Unsupported, "fmt \"", kind,
              "\" is not supported; supported: e4m3");
  const auto block = block_of(json);
  Scheme scheme;
  scheme.targets = {"Linear", "Embedding"};
  scheme.weights = fp8(block ? Strategy::Block : Strategy::Tensor);
  scheme.weights->block_structure = block;
  scheme.input_activations = inputs_of(json, block);
  scheme.format = kFp8Format;
  QuantizationConfig config;
  config.groups.emplace_back("group_0", std::move(scheme));
  config.format = kFp8Format;
  return config;
}

}  // namespace swage::scheme
