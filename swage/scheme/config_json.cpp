#include "swage/scheme/config_json.h"

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

Json strings(const std::vector<std::string>& texts) {
  Json array = Json::array();
  for (const std::string& text : texts) array.push_back(text);
  return array;
}

void set_if(Json& object, std::string_view key, const std::optional<std::string>& value) {
  if (value) object.set(key, *value);
}

Json args_or_null(const std::optional<QuantizationArgs>& args) { return args ? to_json(*args) : Json(); }

Json dynamic_json(Dynamic dynamic) { return dynamic == Dynamic::Local ? Json("local") : Json(dynamic == Dynamic::Yes); }

// The one format of the groups that store something, or "mixed-precision"; "dense" if none does.
std::string common_format(const QuantizationConfig& config) {
  std::string common = "dense";
  for (const auto& [name, scheme] : config.groups) {
    const std::string format = format_of(scheme);
    if (format == "dense" || format == common) continue;
    if (common != "dense") return "mixed-precision";
    common = format;
  }
  return common;
}

}  // namespace

QuantizationConfig config_of(const Scheme& scheme, std::vector<std::string> ignore) {
  QuantizationConfig config;
  config.groups.emplace_back("group_0", scheme);
  config.ignore = std::move(ignore);
  return config;
}

Json to_json(const QuantizationArgs& args) {
  Json json = Json::object();
  set_if(json, "actorder", args.actorder);
  if (args.block_structure)
    json.set("block_structure", Json::Array{args.block_structure->first, args.block_structure->second});
  json.set("dynamic", dynamic_json(args.dynamic));
  json.set("group_size", args.group_size ? Json(*args.group_size) : Json());
  json.set("num_bits", args.num_bits);
  set_if(json, "observer", args.observer);
  if (!args.observer_kwargs.as_object().empty()) json.set("observer_kwargs", args.observer_kwargs);
  set_if(json, "scale_dtype", args.scale_dtype);
  json.set("strategy", name_of(args.strategy));
  json.set("symmetric", args.symmetric);
  json.set("type", name_of(args.type));
  if (!args.symmetric) set_if(json, "zp_dtype", args.zp_dtype);
  return json;
}

Json to_json(const Scheme& scheme) {
  Json json = Json::object();
  json.set("format", format_of(scheme));
  json.set("input_activations", args_or_null(scheme.input_activations));
  json.set("output_activations", args_or_null(scheme.output_activations));
  json.set("targets", strings(scheme.targets));
  json.set("weights", args_or_null(scheme.weights));
  return json;
}

Json to_json(const QuantizationConfig& config) {
  Json groups = Json::object();
  for (const auto& [name, scheme] : config.groups) groups.set(name, to_json(scheme));
  Json json = Json::object();
  json.set("config_groups", std::move(groups));
  json.set("format", config.format.empty() ? common_format(config) : config.format);
  json.set("global_compression_ratio", Json());
  json.set("ignore", strings(config.ignore));
  json.set("kv_cache_scheme", args_or_null(config.kv_cache_scheme));
  json.set("moe_sparsity_config", Json());
  json.set("quant_method", "compressed-tensors");
  json.set("quantization_status", config.quantization_status);
  json.set("sparsity_config", Json::object());
  json.set("transform_config", to_json(config.transforms));
  json.set("version", config.version);
  return json.sorted();
}

}  // namespace swage::scheme
