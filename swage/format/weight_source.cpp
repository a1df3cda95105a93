#include "swage/format/weight_source.h"

#include <ATen/Parallel.h>
#include <ATen/ops/isfinite.h>

#include <array>
#include <atomic>
#include <charconv>
#include <cstring>

#include "swage/base/error.h"
#include "swage/format/awq.h"
#include "swage/format/gptq.h"
#include "swage/scheme/gptq_awq.h"

namespace swage::format {
namespace {

constexpr std::string_view kWeight = ".weight";
// Everything a quantized weight may be stored in.
constexpr std::array kSuffixes = {"weight",       "weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx",
                                  "weight_shape", "qweight",       "qzeros",       "scales",            "g_idx"};

bool ends_with(std::string_view text, std::string_view end) { return text.size() > end.size() && text.substr(text.size() - end.size()) == end; }

std::optional<std::string> module_of(const std::string& name, std::string_view end) {
  if (!ends_with(name, end)) return std::nullopt;
  return name.substr(0, name.size() - end.size());
}

// Whether `version` is one of 0.0 to 0.17; false for anything that is not a version.
bool is_before_0_18(const std::string& version) {
  if (version.rfind("0.", 0) != 0) return false;
  int minor = 0;
  const auto parsed = std::from_chars(version.data() + 2, version.data() + version.size(), minor);
  return parsed.ec == std::errc() && minor < 18;
}

bool all_finite(const at::Tensor& values) {
  if (!values.is_cpu()) return at::isfinite(values).all().item<bool>();
  constexpr uint32_t kExponent = 0x7F800000;  // all ones: infinity or NaN
  const float* data = values.const_data_ptr<float>();
  std::atomic<bool> finite = true;
  at::parallel_for(0, values.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
    uint32_t bad = 0;
    for (int64_t i = begin; i < end; ++i) {
      uint32_t bits;
      std::memcpy(&bits, data + i, sizeof bits);
      bad |= (bits & kExponent) == kExponent;
    }
    if (bad) finite = false;
  });
  return finite;
}

// The checkpoint alone does not tell classes. Whatever is quantized is a Linear, or else an Embedding.
const scheme::Scheme* find_scheme(const scheme::SchemeMatcher& matcher, const std::string& module) {
  const scheme::Scheme* scheme = matcher.find({module, "Linear"});
  return scheme ? scheme : matcher.find({module, "Embedding"});
}

}  // namespace

CheckpointWeights::CheckpointWeights(const checkpoint::Reader& reader, at::Device device, const CheckpointWeightsOptions& options)
    : reader_(reader),
      device_(device),
      options_(options) {
  try {
    const Json* json = scheme::find_quantization_config(reader.config());
    const std::optional<Json> older = json ? std::nullopt : scheme::old_settings_file(reader.folder());
    if (older) json = &*older;
    if (!json) return;
    if (scheme::is_gptq_or_awq(*json)) {
      find_gptq_or_awq_modules(*json);
      SWAGE_CHECK(older || !modules_.empty(), CorruptData, "config.json says quant_method ", json->get_string("quant_method", ""),
                  ", but no module stores a qweight");
      return;
    }
    config_ = scheme::parse_quantization_config(*json);
    before_0_18_ = is_before_0_18(config_->version);
    find_quantized_modules(scheme::SchemeMatcher(config_->groups, config_->ignore));
  } catch (Error& error) {
    error.add_context(reader.folder().string());
    throw;
  }
}

void CheckpointWeights::find_quantized_modules(const scheme::SchemeMatcher& matcher) {
  for (const io::TensorSpec& tensor : reader_.tensors()) {
    for (const std::string_view end : {".weight_packed", ".weight_scale"}) {
      const auto module = module_of(tensor.name, end);
      if (module && !modules_.count(*module)) modules_.emplace(*module, stored_form(*module, matcher));
    }
    const auto module = module_of(tensor.name, kWeight);
    if (!module) continue;
    const scheme::Scheme* scheme = matcher.find({*module, "Linear"});
    if (scheme && !scheme->weights && scheme->input_activations) inputs_only_.emplace(*module, *scheme->input_activations);
  }
}

void CheckpointWeights::find_gptq_or_awq_modules(const Json& quantization_config) {
  const scheme::GptqAwqSchemes schemes(quantization_config);
  const Format& format = schemes.format() == "awq" ? awq_format() : gptq_format(schemes.format());
  for (const io::TensorSpec& tensor : reader_.tensors()) {
    if (const auto module = module_of(tensor.name, ".qweight")) modules_.emplace(*module, Stored{&format, schemes.find(*module)});
  }
}

CheckpointWeights::Stored CheckpointWeights::stored_form(const std::string& module, const scheme::SchemeMatcher& matcher) const {
  const scheme::Scheme* scheme = find_scheme(matcher, module);
  SWAGE_CHECK(scheme && scheme->weights, CorruptData, module, " stores a quantized weight, but the quantization_config does not target it");
  try {
    return {&format_for(*scheme), *scheme};
  } catch (Error& error) {
    error.add_context(module);
    throw;
  }
}

const std::pair<const std::string, CheckpointWeights::Stored>* CheckpointWeights::quantized_weight(const std::string& name) const {
  const auto module = module_of(name, kWeight);
  const auto found = module ? modules_.find(*module) : modules_.end();
  return found == modules_.end() ? nullptr : &*found;
}

TensorLookup CheckpointWeights::lookup(const std::string& module) const {
  return [this, module](const std::string& suffix) {
    const std::string name = module + "." + suffix;
    return reader_.find(name) ? reader_.view(name) : at::Tensor();
  };
}

QuantizedWeight CheckpointWeights::unpack(const std::string& module, const Stored& stored) const {
  try {
    return (before_0_18_ ? stored.format->unpack_before_0_18 : stored.format->unpack)(*stored.scheme.weights, lookup(module));
  } catch (Error& error) {
    error.add_context(module);
    throw;
  }
}

std::vector<int64_t> CheckpointWeights::shape(const std::string& name) const {
  if (const auto* quantized = quantized_weight(name)) {
    const auto& [module, stored] = *quantized;
    try {
      return stored.format->shape(*stored.scheme.weights, lookup(module));
    } catch (Error& error) {
      error.add_context(module);
      throw;
    }
  }
  const io::TensorSpec* spec = reader_.find(name);
  return spec ? spec->shape : std::vector<int64_t>{};
}

at::Tensor CheckpointWeights::checked(const std::string& name, const at::Tensor& values) const {
  SWAGE_CHECK(!options_.check_finite || all_finite(values), Numerical, name, " holds NaN or infinity");
  return values;
}

at::Tensor CheckpointWeights::load_dense(const std::string& name) const {
  const io::TensorSpec* spec = reader_.find(name);
  SWAGE_CHECK(spec, CorruptData, reader_.folder().string(), ": no tensor ", name);
  const io::Dtype dtype = spec->dtype;
  const bool floats = dtype == io::Dtype::F32 || dtype == io::Dtype::BF16 || dtype == io::Dtype::F16 || dtype == io::Dtype::F64;
  SWAGE_CHECK(floats, CorruptData, name, ": expected floats of 16 to 64 bits, found ", io::name_of(dtype));
  at::Tensor values = checked(name, dtype == io::Dtype::F32 ? reader_.read(name) : reader_.view(name).to(at::kFloat));
  reader_.drop(name);
  return values.to(device_);
}

at::Tensor CheckpointWeights::load(const std::string& name) const {
  const auto* quantized = quantized_weight(name);
  if (!quantized) return load_dense(name);
  const auto& [module, stored] = *quantized;
  QuantizedWeight weight = unpack(module, stored);
  if (!device_.is_cpu()) {  // codes are a quarter of the values to send
    weight.codes_OI = weight.codes_OI.to(device_);
    weight.scale_OG = weight.scale_OG.to(device_);
    if (weight.zero_point_OG.defined()) weight.zero_point_OG = weight.zero_point_OG.to(device_);
    if (weight.g_idx_I.defined()) weight.g_idx_I = weight.g_idx_I.to(device_);
  }
  const at::Tensor values_OI = checked(name, dequantize(weight));
  for (const char* suffix : kSuffixes) {
    const std::string part = module + "." + suffix;
    if (reader_.find(part)) reader_.drop(part);
  }
  return values_OI;
}

std::optional<scheme::QuantizationArgs> CheckpointWeights::input_quantization(const std::string& module) const {
  if (const scheme::Scheme* scheme = quantized_scheme(module)) return scheme->input_activations;
  const auto found = inputs_only_.find(module);
  return found == inputs_only_.end() ? std::nullopt : std::optional(found->second);
}

void CheckpointWeights::prefetch(const std::vector<std::string>& names) const {
  for (const std::string& name : names) {
    const auto* quantized = quantized_weight(name);
    if (!quantized && reader_.find(name)) reader_.prefetch(name);
    if (!quantized) continue;
    for (const char* suffix : kSuffixes) {
      const std::string part = quantized->first + "." + suffix;
      if (reader_.find(part)) reader_.prefetch(part);
    }
  }
}

std::vector<std::string> CheckpointWeights::quantized_modules() const {
  std::vector<std::string> names;
  for (const auto& [module, stored] : modules_) names.push_back(module);
  return names;
}

const scheme::Scheme* CheckpointWeights::quantized_scheme(const std::string& module) const {
  const auto found = modules_.find(module);
  return found == modules_.end() ? nullptr : &found->second.scheme;
}

QuantizedModule CheckpointWeights::quantized(const std::string& module) const {
  const auto found = modules_.find(module);
  SWAGE_CHECK(found != modules_.end(), InvalidArgument, module, " is not a quantized module of ", reader_.folder().string());
  QuantizedWeight weight = unpack(module, found->second);
  // What unpack() did not compute is a view of the file.
  weight.codes_OI = weight.codes_OI.clone();
  weight.scale_OG = weight.scale_OG.clone();
  if (weight.zero_point_OG.defined()) weight.zero_point_OG = weight.zero_point_OG.clone();
  if (weight.g_idx_I.defined()) weight.g_idx_I = weight.g_idx_I.clone();
  return {std::move(weight), *found->second.scheme.weights, std::string(found->second.format->name)};
}

}  // namespace swage::format
