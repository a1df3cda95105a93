#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>

#include "swage/api/inspect_summary.h"
#include "swage/base/file.h"
#include "swage/io/checkpoint_files.h"
#include "swage/scheme/config_json.h"
#include "swage/scheme/describe.h"
#include "swage/scheme/gptq_awq.h"
#include "swage/scheme/matching.h"
#include "swage/scheme/module_place.h"
#include "swage/scheme/presets.h"
#include "swage/swage.h"

namespace swage {
namespace {

namespace fs = std::filesystem;

// What is known of one module from the headers alone.
struct Module {
  std::map<std::string, io::TensorSpec> tensors;  // by suffix: "weight_packed"
  std::vector<int64_t> shape;                     // of the weight
  uint64_t bytes = 0;
  std::string scheme = "float";
  bool is_transform = false;  // a matrix for activations, which is no weight of the model
};

struct RunOrder {
  bool operator()(const std::string& a, const std::string& b) const { return scheme::runs_before(a, b); }
};
using Modules = std::map<std::string, Module, RunOrder>;

Modules group_by_module(const io::CheckpointFiles& files) {
  Modules modules;
  for (const io::TensorSpec& spec : files.tensors()) {
    const size_t dot = spec.name.rfind('.');
    Module& module = modules[dot == std::string::npos ? spec.name : spec.name.substr(0, dot)];
    module.tensors[dot == std::string::npos ? "" : spec.name.substr(dot + 1)] = spec;
    module.bytes += io::data_bytes(spec);
  }
  return modules;
}

// The two numbers of an I64 tensor.
std::vector<int64_t> stored_shape(const std::string& tensor, const io::TensorSpec& spec,
                                  const io::CheckpointFiles& files) {
  int64_t shape[2];
  SWAGE_CHECK(spec.dtype == io::Dtype::I64 && io::data_bytes(spec) == sizeof shape, CorruptData, tensor,
              ": expected I64, two numbers, found ", io::name_of(spec.dtype), " ", io::shape_text(spec.shape));
  std::memcpy(shape, files.bytes(tensor).data(), sizeof shape);
  SWAGE_CHECK(shape[0] > 0 && shape[1] > 0 && shape[0] < (int64_t{1} << 31) && shape[1] < (int64_t{1} << 31),
              CorruptData, tensor, ": ", io::shape_text({shape[0], shape[1]}), " is not the shape of a weight");
  return {shape[0], shape[1]};
}

// The dense shape of the module's weight: stored beside packed integers and sparse weights, else a matter of the codes'
// width.
std::vector<int64_t> weight_shape(const std::string& name, const Module& module, const io::CheckpointFiles& files,
                                  const scheme::Scheme* scheme) {
  for (const char* suffix : {"weight_shape", "shape"}) {
    const auto found = module.tensors.find(suffix);
    const bool belongs = module.tensors.contains("weight_packed") || module.tensors.contains("bitmask");
    if (belongs && found != module.tensors.end()) return stored_shape(cat(name, ".", suffix), found->second, files);
  }
  const auto packed = module.tensors.find("weight_packed"), weight = module.tensors.find("weight");
  if (packed == module.tensors.end())
    return weight == module.tensors.end() ? std::vector<int64_t>{} : weight->second.shape;
  const std::vector<int64_t>& shape = packed->second.shape;
  const int64_t bits = scheme != nullptr && scheme->weights ? scheme->weights->num_bits : 0;
  SWAGE_CHECK(bits > 0 && bits <= 8 && shape.size() == 2, CorruptData, name,
              ": weight_packed without a weight_shape, and no group of the quantization_config targets it");
  if (packed->second.dtype == io::Dtype::U8) return {shape[0], shape[1] * 8 / bits};
  SWAGE_CHECK(module.tensors.contains("scale_packed"), CorruptData, name,
              ": weight_packed without an I64 weight_shape of two numbers");
  return {shape[1] * (32 / bits) / 16, shape[0] * 32};  // marlin-24: tiles of 16 outputs, half of the inputs
}

int64_t count_of(const std::vector<int64_t>& shape) {
  int64_t count = shape.empty() ? 0 : 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

// Relative errors by module from the report a compression leaves, if there is one.
std::map<std::string, double> reported_errors(const fs::path& folder) {
  std::map<std::string, double> errors;
  const fs::path path = folder / "swage_report.json";
  if (!is_there(path)) return errors;
  const Json report = read_json_file(path);
  if (const Json* modules = report.find("modules")) {
    for (const Json& module : modules->as_array())
      errors[module.at("name").as_string()] = module.get_double("relative_error", 0);
  }
  return errors;
}

Json module_json(const std::string& name, const Module& module, const std::map<std::string, double>& errors) {
  Json out = Json::object();
  out.set("name", name);
  Json shape = Json::array();
  for (const int64_t size : module.shape) shape.push_back(size);
  out.set("shape", std::move(shape));
  out.set("scheme", module.scheme);
  out.set("bytes", module.bytes);
  const int64_t count = count_of(module.shape);
  if (count > 0) out.set("bits_per_weight", 8.0 * double(module.bytes) / double(count));
  if (const auto error = errors.find(name); error != errors.end()) out.set("relative_error", error->second);
  return out;
}

struct Totals {
  int64_t parameters = 0, quantized_parameters = 0;
  uint64_t bytes = 0, quantized_bytes = 0;

  void add(const Module& module) {
    bytes += module.bytes;
    if (module.is_transform) return;
    parameters += count_of(module.shape);
    if (const auto bias = module.tensors.find("bias"); bias != module.tensors.end())
      parameters += count_of(bias->second.shape);
    if (module.scheme == "float") return;
    quantized_parameters += count_of(module.shape);
    quantized_bytes += module.bytes;
  }
  Json to_json() const {
    Json out = Json::object();
    out.set("parameters", parameters);
    out.set("bytes", bytes);
    if (parameters > 0) out.set("bits_per_weight", 8.0 * double(bytes) / double(parameters));
    if (quantized_parameters > 0) {
      out.set("quantized_parameters", quantized_parameters);
      out.set("quantized_bits_per_weight", 8.0 * double(quantized_bytes) / double(quantized_parameters));
    }
    return out;
  }
};

// What the reader of the checkpoint multiplies while the model runs.
Json transforms_json(const scheme::TransformGroups& groups) {
  Json out = Json::array();
  for (const auto& [name, scheme] : groups) {
    for (const scheme::TransformArgs& args : scheme.apply) {
      if (!scheme::is_online(args.location)) continue;
      Json one = Json::object(), targets = Json::array();
      for (const std::string& target : args.targets) targets.push_back(target);
      one.set("group", name);
      one.set("type", scheme.type);
      one.set("location", scheme::name_of(args.location));
      one.set("targets", std::move(targets));
      out.push_back(std::move(one));
    }
  }
  return out;
}

bool ends_with_one_of(const std::string& name, const std::vector<std::string>& suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](const std::string& suffix) { return name.ends_with("." + suffix); });
}

// Quantization of a checkpoint as its files tell it: in config.json, or in the settings file of older quantizers.
class StoredQuantization {
 public:
  StoredQuantization(const fs::path& folder, const Json& config) {
    const Json* quantization = scheme::find_quantization_config(config);
    const std::optional<Json> older = quantization ? std::nullopt : scheme::old_settings_file(folder);
    if (older) quantization = &*older;
    if (quantization == nullptr) return;
    if (scheme::is_gptq_or_awq(*quantization)) {
      gptq_or_awq_.emplace(*quantization);
      method_ = gptq_or_awq_->format() == "awq" ? "awq" : "gptq";
      format_ = gptq_or_awq_->format();
      return;
    }
    const scheme::QuantizationConfig parsed = scheme::parse_quantization_config(*quantization);
    matcher_.emplace(parsed.groups, parsed.ignore);
    transform_suffixes_ = scheme::TransformMatcher(parsed.transforms).stored_suffixes();
    if (!transform_suffixes_.empty()) transforms_ = transforms_json(parsed.transforms);
    method_ = quantization->get_string("quant_method", "");
    format_ = quantization->get_string("format", parsed.format);
  }

  void add_to(Json& out) const {
    if (!gptq_or_awq_ && !matcher_) return;
    if (!transforms_.is_null()) out.set("transforms", transforms_);
    out.set("quant_method", method_);
    out.set("format", format_);
  }

  // Shape and scheme of a module's weight, from its tensors.
  void describe(const std::string& name, Module& module, const io::CheckpointFiles& files) const {
    const auto qweight = module.tensors.find("qweight");
    if (gptq_or_awq_ && qweight != module.tensors.end()) {
      const scheme::Scheme scheme = gptq_or_awq_->find(name);
      module.shape = scheme::dense_shape(scheme, qweight->second.shape);
      module.scheme = scheme::describe(scheme);
      return;
    }
    const scheme::Scheme* scheme = matcher_ ? matcher_->find_by_name(name) : nullptr;
    module.shape = weight_shape(name, module, files, scheme);
    module.is_transform = ends_with_one_of(name, transform_suffixes_);
    if (module.is_transform) module.scheme = "transform";
    if (scheme != nullptr && has_scales(module)) module.scheme = scheme::describe(*scheme);
  }

 private:
  static bool has_scales(const Module& module) {
    return module.tensors.contains("weight_scale") || module.tensors.contains("weight_scale_inv") ||
           module.tensors.contains("scale_packed");
  }

  std::string method_, format_;
  std::optional<scheme::GptqAwqSchemes> gptq_or_awq_;
  std::optional<scheme::SchemeMatcher> matcher_;
  std::vector<std::string> transform_suffixes_;
  Json transforms_;
};

}  // namespace

std::vector<std::string> preset_names() { return scheme::preset_names(); }

Json inspect(const std::string& model_folder) {
  const fs::path folder = model_folder;
  const io::CheckpointFiles files(folder);
  const Json config = read_json_file(folder / "config.json");
  Json out = Json::object();
  out.set("model", model_folder);
  out.set("model_type", config.get_string("model_type", ""));
  out.set("files", int64_t(files.file_count()));
  Json warnings = Json::array();
  for (const std::string& warning : files.warnings()) warnings.push_back(warning);
  out.set("warnings", std::move(warnings));
  const StoredQuantization quantization(folder, config);
  quantization.add_to(out);
  const std::map<std::string, double> errors = reported_errors(folder);
  Totals totals;
  Json modules = Json::array();
  for (auto& [name, module] : group_by_module(files)) {
    quantization.describe(name, module, files);
    totals.add(module);
    modules.push_back(module_json(name, module, errors));
  }
  out.set("totals", totals.to_json());
  out.set("summary", api::summary_of(modules.as_array()));
  out.set("modules", std::move(modules));
  return out;
}

}  // namespace swage
