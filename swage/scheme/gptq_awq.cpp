#include "swage/scheme/gptq_awq.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/scheme/parse_support.h"

namespace swage::scheme {
namespace {

constexpr int64_t kMostGroupSize = int64_t{1} << 31;

bool is_set(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  return value != nullptr && !value->is_null();
}

// The first of these keys that is set: libraries renamed them.
std::string_view spelling(const Json& json, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (is_set(json, key)) return key;
  }
  return *keys.begin();
}

std::string method_of(const Json& json) {
  return lower_case(json.get_string(spelling(json, {"quant_method", "method"}), ""));
}

int64_t get_group_size(const Json& json, std::initializer_list<std::string_view> keys, int64_t fallback) {
  const int64_t size = json.get_int(spelling(json, keys), fallback);
  SWAGE_CHECK(size == -1 || (size > 0 && size < kMostGroupSize), CorruptData,
              "group_size: expected a positive number or -1, found ", size);
  return size;
}

int get_bits(const Json& json, std::initializer_list<std::string_view> keys, std::optional<int> fallback) {
  const std::string_view key = spelling(json, keys);
  if (!fallback) json.at(key);  // says that the key is missing
  const int64_t bits = json.get_int(key, fallback.value_or(0));
  SWAGE_CHECK(bits >= 2 && bits <= 8, CorruptData, key, ": expected 2 to 8, found ", bits);
  return int(bits);
}

// Widths beside 2, 3, 4 and 8 exist in the planar layout only.
void check_width(int bits, const std::string& format) {
  SWAGE_CHECK(bits <= 4 || bits == 8 || format == "gptq_p", CorruptData, "bits: ", bits,
              " bits exist in format gptq_p only, not in ", format);
}

GptqSettings get_settings(const Json& json, const GptqSettings& fallback, bool bits_required) {
  GptqSettings settings;
  settings.bits = get_bits(json, {"bits"}, bits_required ? std::nullopt : std::optional(fallback.bits));
  settings.group_size = get_group_size(json, {"group_size"}, fallback.group_size);
  settings.desc_act = json.get_bool("desc_act", fallback.desc_act);
  settings.sym = json.get_bool("sym", fallback.sym);
  return settings;
}

std::string get_gptq_format(const Json& json) {
  const std::string newer = lower_case(json.get_string("format", "")),
                    older = lower_case(json.get_string("checkpoint_format", ""));
  SWAGE_CHECK(newer.empty() || older.empty() || newer == older, CorruptData, "format: \"", newer,
              "\", but checkpoint_format: \"", older, "\"");
  const std::string format = !older.empty() ? older : !newer.empty() ? newer : "gptq";
  const bool known = format == "gptq" || format == "gptq_v2" || format == "gptq_p";
  SWAGE_CHECK(known && !json.get_bool("is_marlin_format", false), Unsupported, "GPTQ checkpoint_format \"",
              known ? "marlin" : format, "\" is not supported; supported: gptq, gptq_v2, gptq_p");
  const std::string words = lower_case(json.get_string("pack_dtype", "int32"));
  SWAGE_CHECK(words == "int32", Unsupported, "GPTQ pack_dtype \"", words, "\" is not supported; supported: int32");
  return format;
}

GptqOverride get_override(const std::string& key, const Json& json, const GptqCheckpoint& checkpoint) {
  GptqOverride out;
  const std::string sign = key.substr(0, 2);
  out.skip = sign == "-:";
  out.pattern = sign == "-:" || sign == "+:" ? key.substr(2) : key;
  out.settings = checkpoint.settings;
  if (out.skip) return out;
  SWAGE_CHECK(json.is_object(), CorruptData, "expected an object of settings, found ", json.dump().substr(0, 60));
  out.settings = get_settings(json, checkpoint.settings, false);
  check_width(out.settings.bits, checkpoint.format);
  return out;
}

GptqCheckpoint parse_gptq(const Json& json) {
  GptqCheckpoint checkpoint;
  checkpoint.format = get_gptq_format(json);
  checkpoint.settings = get_settings(json, {}, true);
  check_width(checkpoint.settings.bits, checkpoint.format);
  checkpoint.lm_head = json.get_bool("lm_head", false);
  if (!is_set(json, "dynamic")) return checkpoint;
  return within("dynamic", [&] {
    for (const auto& [key, value] : json.at("dynamic").as_object()) {
      checkpoint.dynamic.push_back(
          within(key, [&, &key = key, &value = value] { return get_override(key, value, checkpoint); }));
    }
    return checkpoint;
  });
}

GptqSettings parse_awq(const Json& json) {
  const std::string version =
      lower_case(json.get_string(spelling(json, {"version", "checkpoint_format", "format"}), "gemm"));
  SWAGE_CHECK(version == "gemm", Unsupported, "AWQ version \"", version, "\" is not supported; supported: gemm");
  GptqSettings settings;
  settings.bits = get_bits(json, {"bits", "w_bit"}, std::nullopt);
  SWAGE_CHECK(settings.bits == 4, Unsupported, "AWQ with ", settings.bits, " bits is not supported; supported: 4");
  settings.group_size = get_group_size(json, {"group_size", "q_group_size"}, 128);
  SWAGE_CHECK(json.get_bool("zero_point", true), Unsupported,
              "AWQ without zero points is not supported: version gemm always stores them");
  settings.sym = false;
  return settings;
}

Patterns compiled(const std::string& pattern) {
  try {
    return Patterns({"re:" + pattern});
  } catch (const Error& error) {
    throw Error(ErrorKind::CorruptData, cat("dynamic: ", error.what()));
  }
}

Scheme scheme_of(const GptqSettings& settings, const std::string& format) {
  QuantizationArgs args;
  args.num_bits = settings.bits;
  args.symmetric = settings.sym;
  args.strategy = settings.group_size > 0 ? Strategy::Group : Strategy::Channel;
  if (settings.group_size > 0) args.group_size = settings.group_size;
  if (settings.desc_act && settings.group_size > 0) args.actorder = "group";
  Scheme scheme;
  scheme.weights = args;
  scheme.format = format;
  return scheme;
}

void set_settings(Json& json, const GptqSettings& settings) {
  json.set("bits", settings.bits);
  json.set("group_size", settings.group_size);
  json.set("desc_act", settings.desc_act);
}

}  // namespace

Json to_json(const GptqCheckpoint& checkpoint, const std::string& quantizer) {
  Json json = Json::object();
  set_settings(json, checkpoint.settings);
  json.set("lm_head", checkpoint.lm_head);
  json.set("method", "gptq");
  json.set("quant_method", "gptq");
  json.set("format", checkpoint.format);
  json.set("checkpoint_format", checkpoint.format);
  json.set("pack_dtype", "int32");
  Json meta = Json::object();
  meta.set("quantizer", Json::Array{quantizer});
  json.set("meta", std::move(meta));
  json.set("sym", checkpoint.settings.sym);
  if (checkpoint.dynamic.empty()) return json;
  Json dynamic = Json::object();
  for (const GptqOverride& one : checkpoint.dynamic) {
    Json settings = Json::object();
    if (!one.skip) {
      set_settings(settings, one.settings);
      settings.set("sym", one.settings.sym);
    }
    dynamic.set((one.skip ? "-:" : "+:") + one.pattern, std::move(settings));
  }
  json.set("dynamic", std::move(dynamic));
  return json;
}

Json to_json(const AwqCheckpoint& checkpoint) {
  Json json = Json::object();
  json.set("quant_method", "awq");
  json.set("zero_point", true);
  json.set("group_size", checkpoint.group_size);
  json.set("bits", 4);
  json.set("version", "gemm");
  Json names = Json::array();
  for (const std::string& name : checkpoint.modules_to_not_convert) names.push_back(name);
  json.set("modules_to_not_convert", checkpoint.modules_to_not_convert.empty() ? Json() : std::move(names));
  return json;
}

bool is_gptq_or_awq(const Json& quantization_config) {
  if (!quantization_config.is_object()) return false;
  const std::string method = method_of(quantization_config);
  return method == "gptq" || method == "awq";
}

// ModelOpt's own file, which older checkpoints of it have alone: without its scales their weights would be nonsense.
static void check_no_modelopt(const std::filesystem::path& path) {
  if (!is_there(path)) return;
  const Json json = read_json_file(path);
  const Json* quantization = json.find("quantization");
  const auto names = [&](const char* field) {
    const Json* value = quantization == nullptr ? nullptr : quantization->find(field);
    return value != nullptr && !value->is_null();
  };
  SWAGE_CHECK(
      !names("quant_algo") && !names("kv_cache_quant_algo"), Unsupported, path.string(),
      ": a checkpoint of modelopt is not supported; swage reads compressed-tensors, gptq, awq and fp8; export it "
      "as a compressed-tensors checkpoint, or start from the model that it was made of");
}

std::optional<Json> old_settings_file(const std::filesystem::path& folder) {
  constexpr std::array<std::pair<const char*, const char*>, 2> kFiles = {
      {{"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}}};
  for (const auto& [name, method] : kFiles) {
    const std::filesystem::path path = folder / name;
    if (!is_there(path)) continue;
    Json json = read_json_file(path);
    SWAGE_CHECK(json.is_object(), CorruptData, path.string(), ": expected an object of settings");
    if (method_of(json).empty()) json.set("quant_method", method);
    return json;
  }
  check_no_modelopt(folder / "hf_quant_config.json");
  return std::nullopt;
}

GptqAwqSchemes::GptqAwqSchemes(const Json& quantization_config) {
  within("quantization_config", [&] {
    if (method_of(quantization_config) == "awq") {
      format_ = "awq";
      settings_ = parse_awq(quantization_config);
      return;
    }
    const GptqCheckpoint checkpoint = parse_gptq(quantization_config);
    format_ = checkpoint.format;
    settings_ = checkpoint.settings;
    for (const GptqOverride& one : checkpoint.dynamic)
      rules_.push_back({compiled(one.pattern), one.skip, one.settings});
  });
}

Scheme GptqAwqSchemes::find(const std::string& module) const {
  for (const Rule& rule : rules_) {
    if (!rule.pattern.match({module})) continue;
    SWAGE_CHECK(!rule.skip, CorruptData, module,
                " stores a qweight, but \"dynamic\" of the quantization_config leaves it unquantized");
    return scheme_of(rule.settings, format_);
  }
  return scheme_of(settings_, format_);
}

std::vector<int64_t> dense_shape(const Scheme& scheme, const std::vector<int64_t>& qweight_shape) {
  const int bits = scheme.weights->num_bits;
  const bool matrix = qweight_shape.size() == 2 && qweight_shape[0] > 0 && qweight_shape[1] > 0;
  const bool by_outputs = scheme.format == "awq";  // eight outputs to a word; else the inputs run along the words
  const int64_t words = matrix ? qweight_shape[by_outputs ? 1 : 0] : 0;
  SWAGE_CHECK(matrix && words < (int64_t{1} << 40) && words * 32 % bits == 0, CorruptData, "qweight: shape ",
              qweight_shape.size(), "-D [", matrix ? qweight_shape[0] : 0, ", ", matrix ? qweight_shape[1] : 0,
              "] does not hold whole codes of ", bits, " bits");
  const int64_t codes = words * 32 / bits;
  return by_outputs ? std::vector<int64_t>{codes, qweight_shape[0]} : std::vector<int64_t>{qweight_shape[1], codes};
}

}  // namespace swage::scheme
