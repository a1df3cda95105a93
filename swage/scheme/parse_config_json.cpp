#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>

#include "swage/base/error.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/fp8_config.h"
#include "swage/scheme/parse_support.h"
#include "swage/scheme/presets.h"

namespace swage::scheme {
namespace {

const Json* find_set(const Json& object, std::string_view key) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value : nullptr;
}

void check_keys(const Json& object, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.as_object()) {
    SWAGE_CHECK(std::find(known.begin(), known.end(), key) != known.end(), CorruptData, "unknown key \"", key, "\"");
  }
}

std::optional<std::string> get_text(const Json& object, std::string_view key) {
  const Json* value = find_set(object, key);
  if (!value) return std::nullopt;
  return within(key, [&] { return value->as_string(); });
}

std::optional<std::string> get_dtype(const Json& object, std::string_view key) {
  std::optional<std::string> text = get_text(object, key);
  if (text && text->rfind("torch.", 0) != 0) text = "torch." + *text;
  return text;
}

std::vector<std::string> get_texts(const Json& object, std::string_view key) {
  std::vector<std::string> texts;
  const Json* value = find_set(object, key);
  if (!value) return texts;
  return within(key, [&] {
    for (const Json& text : value->as_array()) texts.push_back(text.as_string());
    return texts;
  });
}

Dynamic get_dynamic(const Json& object) {
  const Json* value = find_set(object, "dynamic");
  if (!value) return Dynamic::No;
  if (value->is_bool()) return value->as_bool() ? Dynamic::Yes : Dynamic::No;
  SWAGE_CHECK(value->is_string() && lower_case(value->as_string()) == "local", CorruptData,
              "dynamic: expected true, false or \"local\", found ", value->dump());
  return Dynamic::Local;
}

// true and false are what the oldest files have: ordered groups, and nothing.
std::optional<std::string> get_actorder(const Json& object) {
  const Json* value = find_set(object, "actorder");
  if (!value) return std::nullopt;
  if (value->is_bool()) return value->as_bool() ? std::optional<std::string>("group") : std::nullopt;
  const std::string word = value->is_string() ? lower_case(value->as_string()) : "";
  const bool known = word == "weight" || word == "static" || word == "group" || word == "dynamic";
  SWAGE_CHECK(known, CorruptData, "actorder: expected weight, static, group or dynamic, found ", value->dump());
  return word;
}

// [128, 128], or "128x128" in old files.
std::optional<std::pair<int64_t, int64_t>> get_block_structure(const Json& object) {
  const Json* value = find_set(object, "block_structure");
  if (!value) return std::nullopt;
  int64_t rows = 0, columns = 0;
  if (value->is_string()) {
    const std::string& text = value->as_string();
    const char* end = text.data() + text.size();
    const auto first = std::from_chars(text.data(), end, rows);
    if (first.ec == std::errc() && first.ptr != end && *first.ptr == 'x') {
      const auto second = std::from_chars(first.ptr + 1, end, columns);
      if (second.ec != std::errc() || second.ptr != end) columns = 0;
    }
  } else if (value->is_array() && value->as_array().size() == 2) {
    const Json::Array& sizes = value->as_array();
    rows = sizes[0].is_int() ? sizes[0].as_int() : 0;
    columns = sizes[1].is_int() ? sizes[1].as_int() : 0;
  }
  SWAGE_CHECK(rows > 0 && columns > 0, CorruptData, "block_structure: expected two positive sizes, found ",
              value->dump());
  return std::pair(rows, columns);
}

Strategy get_strategy(const Json& object, const std::optional<int64_t>& group_size) {
  if (const auto text = get_text(object, "strategy"))
    return within("strategy", [&] { return strategy_named(lower_case(*text)); });
  if (!group_size) return Strategy::Tensor;
  return *group_size > 0 ? Strategy::Group : Strategy::Channel;
}

int get_bits(const Json& object, NumberType type) {
  const int64_t bits = object.get_int("num_bits", 8);
  const bool width = type == NumberType::Int ? bits >= 1 && bits <= 32 : bits == 4 || bits == 6 || bits == 8;
  SWAGE_CHECK(width, CorruptData, "num_bits: ", bits, " is no width of type ", name_of(type));
  return int(bits);
}

void check_consistent(const QuantizationArgs& args) {
  const bool grouped = args.strategy == Strategy::Group || args.strategy == Strategy::TensorGroup;
  SWAGE_CHECK(grouped == args.group_size.has_value(), CorruptData, "group_size: strategy ", name_of(args.strategy),
              grouped ? " needs a positive one" : " has none");
  SWAGE_CHECK((args.strategy == Strategy::Block) == args.block_structure.has_value(), CorruptData,
              "block_structure: needed for strategy block and only for it, strategy is ", name_of(args.strategy));
  SWAGE_CHECK(args.strategy != Strategy::Token || args.dynamic == Dynamic::Yes, CorruptData,
              "dynamic: strategy token needs true");
  SWAGE_CHECK(args.dynamic != Dynamic::Local || args.strategy == Strategy::TensorGroup, CorruptData,
              "dynamic: \"local\" needs strategy tensor_group");
  const bool unmoving =
      args.strategy == Strategy::Channel || args.strategy == Strategy::Block || args.strategy == Strategy::AttnHead;
  SWAGE_CHECK(args.dynamic == Dynamic::No || !unmoving, CorruptData, "dynamic: not possible with strategy ",
              name_of(args.strategy));
}

QuantizationArgs parse_args(const Json& json) {
  check_keys(json, {"num_bits", "type", "symmetric", "strategy", "group_size", "block_structure", "dynamic", "actorder",
                    "scale_dtype", "zp_dtype", "observer", "observer_kwargs"});
  QuantizationArgs args;
  args.type = within("type", [&] { return number_type_named(lower_case(json.get_string("type", "int"))); });
  args.num_bits = get_bits(json, args.type);
  args.symmetric = json.get_bool("symmetric", true);
  std::optional<int64_t> group_size;
  if (find_set(json, "group_size")) group_size = json.get_int("group_size", 0);
  SWAGE_CHECK(!group_size || *group_size > 0 || *group_size == -1, CorruptData, "group_size: ", group_size.value_or(0));
  args.strategy = get_strategy(json, group_size);
  if (group_size && *group_size > 0) args.group_size = group_size;
  args.block_structure = get_block_structure(json);
  args.dynamic = get_dynamic(json);
  args.actorder = get_actorder(json);
  args.scale_dtype = get_dtype(json, "scale_dtype");
  args.zp_dtype = get_dtype(json, "zp_dtype");
  if (args.symmetric) args.zp_dtype.reset();  // older versions wrote it all the same
  args.observer = get_text(json, "observer");
  if (const Json* kwargs = find_set(json, "observer_kwargs"))
    args.observer_kwargs = within("observer_kwargs", [&] { return Json(kwargs->as_object()); });
  check_consistent(args);
  return args;
}

std::optional<QuantizationArgs> parse_optional_args(const Json& object, std::string_view key) {
  const Json* value = find_set(object, key);
  if (!value) return std::nullopt;
  return within(key, [&] { return parse_args(*value); });
}

// "W4A16": ["Linear"], which only compressed-tensors itself understands.
Scheme preset_group(const std::string& name, const Json& targets) {
  Scheme scheme;
  try {
    scheme = preset(name);
  } catch (const Error& error) {
    const bool unknown = error.kind() == ErrorKind::InvalidArgument;
    throw Error(unknown ? ErrorKind::CorruptData : error.kind(), error.what());
  }
  scheme.targets.clear();
  for (const Json& target : targets.as_array()) scheme.targets.push_back(target.as_string());
  return scheme;
}

Scheme parse_group(const std::string& name, const Json& json) {
  if (json.is_array()) return preset_group(name, json);
  check_keys(json, {"targets", "weights", "input_activations", "output_activations", "format"});
  json.at("targets");
  Scheme scheme;
  scheme.targets = get_texts(json, "targets");
  scheme.weights = parse_optional_args(json, "weights");
  scheme.input_activations = parse_optional_args(json, "input_activations");
  scheme.output_activations = parse_optional_args(json, "output_activations");
  scheme.format = get_text(json, "format").value_or("");
  SWAGE_CHECK(scheme.format != "mixed-precision", CorruptData, "format: a group cannot be mixed-precision");
  return scheme;
}

// Libraries whose weights only they can read, as transformers calls them.
constexpr std::array kOthers = {"aqlm",  "auto-round", "bitnet", "bitsandbytes", "eetq", "fp_quant", "higgs", "hqq",
                                "mxfp4", "quanto",     "quark",  "sinq",         "spqr", "torchao",  "vptq"};

std::string way_out_of(const std::string& method) {
  constexpr const char* kFromTheOriginal = "start from the model that it was made of";
  if (method == "modelopt")
    return cat("swage reads compressed-tensors, gptq, awq and fp8; export it as a compressed-tensors checkpoint, or ",
               kFromTheOriginal);
  if (std::find(kOthers.begin(), kOthers.end(), method) == kOthers.end())
    return cat("swage reads compressed-tensors, gptq, awq and fp8; ", kFromTheOriginal);
  return cat("only ", method, " itself can read its weights; ", kFromTheOriginal,
             ", or let transformers write a dense one: model.dequantize(), then save_pretrained(), where it can");
}

void check_supported(const Json& json) {
  const bool bits_and_bytes = json.find("load_in_4bit") != nullptr || json.find("load_in_8bit") != nullptr ||
                              json.find("_load_in_4bit") != nullptr;
  const std::string method =
      lower_case(json.get_string("quant_method", json.find("config_groups") ? "compressed-tensors"
                                                 : bits_and_bytes           ? "bitsandbytes"
                                                                            : ""));
  SWAGE_CHECK(!method.empty(), CorruptData, "missing key \"quant_method\"");
  SWAGE_CHECK(method == "compressed-tensors", Unsupported, "quant_method \"", method, "\": ", way_out_of(method));
  if (const Json* sparsity = find_set(json, "sparsity_config")) {
    within("sparsity_config", [&] {
      sparsity->as_object();
      const std::string format = sparsity->get_string("format", "dense");
      const bool known = format == "dense" || format == "sparse-bitmask" || format == "sparse-24-bitmask";
      SWAGE_CHECK(known, Unsupported, "sparse format \"", format, "\" is not supported");
    });
  }
}

}  // namespace

const Json* find_quantization_config(const Json& model_config) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (const Json* found = find_set(model_config, key)) return found;
  }
  const Json* text = find_set(model_config, "text_config");
  return text ? find_quantization_config(*text) : nullptr;
}

QuantizationConfig parse_quantization_config(const Json& json) {
  return within("quantization_config", [&] {
    SWAGE_CHECK(json.is_object(), CorruptData, "expected an object, found ", json.dump().substr(0, 60));
    if (is_fp8_method(json)) return parse_fp8_config(json);
    check_supported(json);
    QuantizationConfig config;
    if (const Json* transforms = find_set(json, "transform_config")) {
      config.transforms = within("transform_config", [&] { return parse_transform_config(*transforms); });
    }
    const bool only_transforms = !config.transforms.empty() && find_set(json, "config_groups") == nullptr;
    const Json no_groups = Json::object();
    within("config_groups", [&] {
      for (const auto& [name, group] : (only_transforms ? no_groups : json.at("config_groups")).as_object()) {
        config.groups.emplace_back(
            name, within(name, [&, &name = name, &group = group] { return parse_group(name, group); }));
      }
    });
    config.ignore = get_texts(json, "ignore");
    config.format = get_text(json, "format").value_or("");
    for (auto& [name, scheme] : config.groups) {  // groups of older files leave it to the top level
      if (scheme.format.empty() && scheme.weights && config.format != "mixed-precision") scheme.format = config.format;
    }
    config.quantization_status = get_text(json, "quantization_status").value_or("initialized");
    config.version = get_text(json, "version").value_or("");
    config.kv_cache_scheme = parse_optional_args(json, "kv_cache_scheme");
    return config;
  });
}

}  // namespace swage::scheme
