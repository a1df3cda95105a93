#include "swage/format/weight_source.h"

#include <ATen/Parallel.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "swage/base/error.h"
#include "swage/format/awq.h"
#include "swage/format/gptq.h"
#include "swage/format/mxfp4_experts.h"
#include "swage/format/packed_weight.h"
#include "swage/format/sparse_bitmask.h"
#include "swage/scheme/fp8_config.h"
#include "swage/scheme/gptq_awq.h"

namespace swage::format {
namespace {

constexpr std::string_view kWeight = ".weight";
// Everything a quantized weight may be stored in.
constexpr std::array kSuffixes = {"weight",
                                  "weight_packed",
                                  "weight_scale",
                                  "weight_zero_point",
                                  "weight_g_idx",
                                  "weight_shape",
                                  "weight_global_scale",
                                  "qweight",
                                  "qzeros",
                                  "scales",
                                  "g_idx",
                                  "scale_packed",
                                  "meta",
                                  "compressed",
                                  "bitmask",
                                  "row_offsets",
                                  "shape",
                                  "weight_scale_inv"};

// What is stored of quantized activations, in a module that owns them.
constexpr std::array kActivationSuffixes = {
    "input_scale",    "input_zero_point", "input_global_scale", "output_scale", "output_zero_point", "k_scale",
    "k_zero_point",   "v_scale",          "v_zero_point",       "q_scale",      "q_zero_point",      "activation_scale",
    "input_scale_ub", "kv_scale"};

bool is_float(io::Dtype dtype) {
  return dtype == io::Dtype::F32 || dtype == io::Dtype::BF16 || dtype == io::Dtype::F16 || dtype == io::Dtype::F64;
}

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() > end.size() && text.substr(text.size() - end.size()) == end;
}

std::optional<std::string> module_of(const std::string& name, std::string_view end) {
  if (!ends_with(name, end)) return std::nullopt;
  return name.substr(0, name.size() - end.size());
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

// Of a matrix in f32, bf16 or f16.
bool stored_finite(const at::Tensor& values) {
  if (values.scalar_type() == at::kFloat) return all_finite(values);
  // All ones: infinity or NaN.
  const uint16_t exponent = values.scalar_type() == at::kHalf ? 0x7C00 : 0x7F80;
  const auto* data = static_cast<const uint16_t*>(values.const_data_ptr());
  std::atomic<bool> finite = true;
  at::parallel_for(0, values.numel(), 1 << 17, [&](int64_t begin, int64_t end) {
    uint16_t bad = 0;
    for (int64_t i = begin; i < end; ++i) bad |= (data[i] & exponent) == exponent;
    if (bad != 0) finite = false;
  });
  return finite;
}

}  // namespace

CheckpointWeights::CheckpointWeights(const checkpoint::Reader& reader, at::Device device,
                                     const CheckpointWeightsOptions& options)
    : reader_(reader),
      device_(device),
      options_(options) {
  try {
    const Json* json = scheme::find_quantization_config(reader.config());
    const std::optional<Json> older = json ? std::nullopt : scheme::old_settings_file(reader.folder());
    if (older) json = &*older;
    if (!json || json->get_string("quant_method", "") == "mxfp4") return;  // its experts are found by their parts
    if (scheme::is_gptq_or_awq(*json)) {
      find_gptq_or_awq_modules(*json);
      SWAGE_CHECK(older || !modules_.empty(), CorruptData, "config.json says quant_method ",
                  json->get_string("quant_method", ""), ", but no module stores a qweight");
      return;
    }
    config_ = scheme::parse_quantization_config(*json);
    auto transforms = std::make_unique<const StoredTransforms>(config_->transforms, reader);
    if (!transforms->empty()) transforms_ = std::move(transforms);
    find_quantized_modules(scheme::SchemeMatcher(config_->groups, config_->ignore));
  } catch (Error& error) {
    error.add_context(reader.folder().string());
    throw;
  }
}

void CheckpointWeights::find_quantized_modules(const scheme::SchemeMatcher& matcher) {
  for (const io::TensorSpec& tensor : reader_.tensors()) {
    for (const std::string_view end : {".weight_packed", ".weight_scale", ".weight_scale_inv"}) {
      const auto module = module_of(tensor.name, end);
      if (module && !modules_.count(*module)) modules_.emplace(*module, stored_form(*module, matcher));
    }
    const auto module = module_of(tensor.name, kWeight);
    if (!module) continue;
    const scheme::Scheme* scheme = matcher.find_by_name(*module);
    if (scheme && !scheme->weights && scheme->input_activations)
      inputs_only_.emplace(*module, *scheme->input_activations);
  }
  find_attention_modules(matcher);
}

// The checkpoint does not tell their class; they are the ones that store a "q_scale".
void CheckpointWeights::find_attention_modules(const scheme::SchemeMatcher& matcher) {
  std::vector<std::string> classes;
  for (const auto& [name, scheme] : config_->groups) {
    for (const std::string& target : scheme.targets) {
      if (target.rfind("re:", 0) != 0 && (target == "Attention" || ends_with(target, "Attention")))
        classes.push_back(target);
    }
  }
  for (const io::TensorSpec& tensor : reader_.tensors()) {
    const auto module = module_of(tensor.name, ".q_scale");
    if (!module) continue;
    for (const std::string& class_name : classes) {
      const scheme::Scheme* scheme = matcher.find({*module, class_name});
      if (scheme && scheme->input_activations) inputs_only_.emplace(*module, *scheme->input_activations);
    }
  }
}

void CheckpointWeights::find_gptq_or_awq_modules(const Json& quantization_config) {
  const scheme::GptqAwqSchemes schemes(quantization_config);
  const Format& format = schemes.format() == "awq" ? awq_format() : gptq_format(schemes.format());
  for (const io::TensorSpec& tensor : reader_.tensors()) {
    if (const auto module = module_of(tensor.name, ".qweight"))
      modules_.emplace(*module, Stored{&format, schemes.find(*module)});
  }
}

CheckpointWeights::Stored CheckpointWeights::stored_form(const std::string& module,
                                                         const scheme::SchemeMatcher& matcher) const {
  const scheme::Scheme* scheme = matcher.find_by_name(module);
  SWAGE_CHECK(scheme && scheme->weights, CorruptData, module,
              " stores a quantized weight, but the quantization_config does not target it");
  try {
    return {&format_named(stored_format(module, *scheme)), with_stored_strategy(module, *scheme)};
  } catch (Error& error) {
    error.add_context(module);
    throw;
  }
}

// quant_method fp8 does not say whether rows have scales of their own.
scheme::Scheme CheckpointWeights::with_stored_strategy(const std::string& module, scheme::Scheme scheme) const {
  if (scheme.format != scheme::kFp8Format || scheme.weights->strategy != scheme::Strategy::Tensor) return scheme;
  for (const char* suffix : {".weight_scale_inv", ".weight_scale"}) {
    const io::TensorSpec* scale = reader_.find(module + suffix);
    const bool has_rows = scale != nullptr &&
                          std::any_of(scale->shape.begin(), scale->shape.end(), [](int64_t size) { return size != 1; });
    if (has_rows) scheme.weights->strategy = scheme::Strategy::Channel;
  }
  return scheme;
}

// What the config says, unless it says nothing or the weight is not quantized yet (status "frozen").
std::string CheckpointWeights::stored_format(const std::string& module, const scheme::Scheme& scheme) const {
  const io::TensorSpec* weight = reader_.find(module + ".weight");
  if (weight && is_float(weight->dtype)) return "dense";
  if (!scheme.format.empty()) return scheme.format;
  return reader_.find(module + ".weight_packed") ? format_of(scheme) : default_format(scheme);
}

const std::pair<const std::string, CheckpointWeights::Stored>* CheckpointWeights::quantized_weight(
    const std::string& name) const {
  const auto module = module_of(name, kWeight);
  const auto found = module ? modules_.find(*module) : modules_.end();
  return found == modules_.end() ? nullptr : &*found;
}

TensorLookup CheckpointWeights::lookup(const std::string& module) const {
  return [this, module](const std::string& suffix) {
    const std::string name = module + "." + suffix;
    if (reader_.find(name)) return reader_.view(name);
    return suffix == "weight" && is_sparse(lookup(module)) ? expand_sparse(lookup(module)) : at::Tensor();
  };
}

QuantizedWeight CheckpointWeights::unpack(const std::string& module, const Stored& stored) const {
  try {
    return unpack_for(*stored.format, config_ ? config_->version : "")(*stored.scheme.weights, lookup(module));
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
  if (const io::TensorSpec* spec = find(name)) return spec->shape;
  if (const auto experts = mxfp4_experts_shape(reader_, name)) return *experts;
  const auto module = sparse_weight(name);
  if (!module) return {};
  try {
    return sparse_shape(lookup(*module));
  } catch (Error& error) {
    error.add_context(*module);
    throw;
  }
}

std::optional<std::string> CheckpointWeights::sparse_weight(const std::string& name) const {
  const auto module = module_of(name, kWeight);
  return module && !reader_.find(name) && is_sparse(lookup(*module)) ? module : std::nullopt;
}

// Scales of inputs, keys and values have had several names.
const io::TensorSpec* CheckpointWeights::find(const std::string& name) const {
  if (const io::TensorSpec* spec = reader_.find(name)) return spec;
  if (const auto linear = module_of(name, ".input_scale")) return reader_.find(*linear + ".activation_scale");
  for (const char* letter : {"k", "v", "q"}) {
    const auto attention = module_of(name, cat(".", letter, "_scale"));
    if (!attention) continue;
    for (const std::string& other :
         {cat(*attention, ".", letter, "_proj.", letter, "_scale"), cat(*attention, ".attn.", letter, "_scale"),
          cat(*attention, ".", letter, "_proj.output_scale")}) {
      if (const io::TensorSpec* spec = reader_.find(other)) return spec;
    }
  }
  return nullptr;
}

at::Tensor CheckpointWeights::checked(const std::string& name, const at::Tensor& values) const {
  SWAGE_CHECK(!options_.check_finite || all_finite(values), Numerical, reader_.folder().string(), ": ", name,
              " holds NaN or infinity");
  return values;
}

at::Tensor CheckpointWeights::rounded(const std::string& name, const at::Tensor& values) const {
  if (!options_.dense_dtype || *options_.dense_dtype == at::kFloat) return values;
  const at::Tensor out = values.to(*options_.dense_dtype).to(at::kFloat);
  SWAGE_CHECK(*options_.dense_dtype != at::kHalf || all_finite(out), Numerical, reader_.folder().string(), ": ", name,
              " has values beyond the range of f16, the model's type");
  return out;
}

at::Tensor CheckpointWeights::load_dense(const std::string& name) const {
  const io::TensorSpec* spec = find(name);
  SWAGE_CHECK(spec, CorruptData, reader_.folder().string(), ": no tensor ", name);
  const bool zero_point =
      ends_with(name, "_zero_point") && (spec->dtype == io::Dtype::I8 || spec->dtype == io::Dtype::F8E4M3);
  SWAGE_CHECK(is_float(spec->dtype) || zero_point, CorruptData, name, ": expected floats of 16 to 64 bits, found ",
              io::name_of(spec->dtype));
  if (spec->dtype != io::Dtype::F32) reader_.note(spec->name);
  if (!device_.is_cpu()) {  // in the file's own type, half as much to send
    const at::Tensor sent = checked(name, reader_.view(spec->name).to(device_).to(at::kFloat));
    reader_.drop(spec->name);
    return sent;
  }
  at::Tensor values =
      checked(name, spec->dtype == io::Dtype::F32 ? reader_.read(spec->name) : reader_.view(spec->name).to(at::kFloat));
  reader_.drop(spec->name);
  return values.to(device_);
}

// The log of what is read knows a module's tensors before they are looked at, not after: they may change in between.
void CheckpointWeights::note_parts(const std::string& module) const {
  for (const char* suffix : kSuffixes) {
    const std::string part = module + "." + suffix;
    if (reader_.find(part)) reader_.note(part);
  }
}

at::Tensor CheckpointWeights::load_sparse(const std::string& name, const std::string& module) const {
  note_parts(module);
  try {
    const at::Tensor values = expand_sparse(lookup(module));
    SWAGE_CHECK(values.element_size() > 1, CorruptData, "compressed: expected floats of 16 to 64 bits, found ",
                c10::toString(values.scalar_type()));
    return checked(name, values.to(at::kFloat)).to(device_);
  } catch (Error& error) {
    error.add_context(module);
    throw;
  }
}

at::Tensor CheckpointWeights::load(const std::string& name) const {
  const auto* quantized = quantized_weight(name);
  if (!quantized) {
    if (mxfp4_experts_shape(reader_, name)) return checked(name, mxfp4_experts(reader_, name)).to(device_);
    const auto sparse = sparse_weight(name);
    return sparse ? load_sparse(name, *sparse) : load_dense(name);
  }
  const auto& [module, stored] = *quantized;
  note_parts(module);
  QuantizedWeight weight = unpack(module, stored);
  if (!device_.is_cpu()) {  // codes are a quarter of the values to send
    weight.codes_OI = weight.codes_OI.to(device_);
    weight.scale_OG = weight.scale_OG.to(device_);
    if (weight.zero_point_OG.defined()) weight.zero_point_OG = weight.zero_point_OG.to(device_);
    if (weight.g_idx_I.defined()) weight.g_idx_I = weight.g_idx_I.to(device_);
    if (weight.global_scale.defined()) weight.global_scale = weight.global_scale.to(device_);
  }
  const at::Tensor values_OI = rounded(name, checked(name, dequantize(weight)));
  drop_parts(module);
  return values_OI;
}

void CheckpointWeights::drop_parts(const std::string& module) const {
  for (const char* suffix : kSuffixes) {
    const std::string part = module + "." + suffix;
    if (reader_.find(part)) reader_.drop(part);
  }
}

at::Tensor CheckpointWeights::stored_matrix(const std::string& name) const {
  const io::TensorSpec* spec = find(name);
  const bool fits = spec != nullptr && spec->shape.size() == 2 && spec->dtype != io::Dtype::F64 &&
                    is_float(spec->dtype) && !quantized_weight(name);
  if (options_.kept != KeptForm::All || !device_.is_cpu() || !fits) return {};
  reader_.note(spec->name);
  const at::Tensor matrix = reader_.view(spec->name);
  SWAGE_CHECK(!options_.check_finite || stored_finite(matrix), Numerical, reader_.folder().string(), ": ", name,
              " holds NaN or infinity");
  return matrix;
}

at::Tensor CheckpointWeights::load_table(const std::string& name) const {
  const at::Tensor matrix = stored_matrix(name);
  return matrix.defined() ? matrix : load(name);
}

std::shared_ptr<const ops::PackedLinear> CheckpointWeights::packed(const std::string& name) const {
  if (options_.kept == KeptForm::Floats || !device_.is_cpu() || options_.dense_dtype) return nullptr;
  const auto share = [](std::optional<ops::PackedLinear> linear) {
    return linear ? std::make_shared<const ops::PackedLinear>(*std::move(linear)) : nullptr;
  };
  const auto* quantized = quantized_weight(name);
  if (!quantized) {
    const at::Tensor matrix = stored_matrix(name);
    return matrix.defined() ? share(ops::PackedLinear::of_rows(matrix)) : nullptr;
  }
  const auto& [module, stored] = *quantized;
  note_parts(module);
  try {
    auto out = share(packed_weight(unpack(module, stored), stored.scheme.weights->num_bits));
    if (out) drop_parts(module);
    return out;
  } catch (Error& error) {
    error.add_context(name);
    throw;
  }
}

std::optional<scheme::QuantizationArgs> CheckpointWeights::input_quantization(const std::string& module) const {
  if (options_.weights_only) return {};
  if (const scheme::Scheme* scheme = quantized_scheme(module)) return scheme->input_activations;
  const auto found = inputs_only_.find(module);
  return found == inputs_only_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<scheme::QuantizationArgs> CheckpointWeights::kv_cache_quantization() const {
  return config_ && !options_.weights_only ? config_->kv_cache_scheme : std::nullopt;
}

std::shared_ptr<const ops::Transform> CheckpointWeights::transform(const scheme::ModuleName& module,
                                                                   scheme::TransformLocation location,
                                                                   int64_t columns) const {
  return transforms_ ? transforms_->find(module, location, columns) : nullptr;
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

std::vector<std::string> CheckpointWeights::encoded_modules() const {
  std::vector<std::string> names = quantized_modules();
  for (const io::TensorSpec& tensor : reader_.tensors()) {
    const auto module = module_of(tensor.name, ".bitmask");
    if (module && !modules_.contains(*module) && is_sparse(lookup(*module))) names.push_back(*module);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool CheckpointWeights::describes_quantization(const std::string& tensor) const {
  if (is_mxfp4_part(reader_, tensor)) return true;
  const size_t dot = tensor.rfind('.');
  if (dot == std::string::npos) return false;
  const std::string module = tensor.substr(0, dot), suffix = tensor.substr(dot + 1);
  const auto is_one_of = [&](const auto& list) { return std::find(list.begin(), list.end(), suffix) != list.end(); };
  if (is_one_of(kSuffixes)) return modules_.contains(module) || is_sparse(lookup(module));
  return config_ && is_one_of(kActivationSuffixes);
}

const scheme::Scheme* CheckpointWeights::quantized_scheme(const std::string& module) const {
  const auto found = modules_.find(module);
  return found == modules_.end() ? nullptr : &found->second.scheme;
}

QuantizedModule CheckpointWeights::quantized(const std::string& module) const {
  const auto found = modules_.find(module);
  SWAGE_CHECK(found != modules_.end(), InvalidArgument, module, " is not a quantized module of ",
              reader_.folder().string());
  QuantizedWeight weight = unpack(module, found->second);
  // What unpack() did not compute is a view of the file.
  weight.codes_OI = weight.codes_OI.clone();
  weight.scale_OG = weight.scale_OG.clone();
  if (weight.zero_point_OG.defined()) weight.zero_point_OG = weight.zero_point_OG.clone();
  if (weight.g_idx_I.defined()) weight.g_idx_I = weight.g_idx_I.clone();
  if (weight.global_scale.defined()) weight.global_scale = weight.global_scale.clone();
  return {std::move(weight), *found->second.scheme.weights, std::string(found->second.format->name)};
}

}  // namespace swage::format
