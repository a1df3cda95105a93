#include "swage/resolve/quantized_source.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/max.h>

#include <algorithm>
#include <map>
#include <set>

#include "swage/base/error.h"
#include "swage/resolve/output.h"
#include "swage/scheme/describe.h"

namespace swage::pipeline {
namespace {

// Whether two weights have the same values to choose from.
bool same_grid(scheme::QuantizationArgs a, const scheme::QuantizationArgs& b) {
  a.actorder = b.actorder, a.observer = b.observer, a.observer_kwargs = b.observer_kwargs, a.zp_dtype = b.zp_dtype;
  return a == b;
}

bool same_inputs(const scheme::Scheme& a, const scheme::Scheme& b) {
  if (!a.input_activations || !b.input_activations) return !a.input_activations && !b.input_activations;
  return same_grid(*a.input_activations, *b.input_activations);
}

}  // namespace

bool is_plain_float(io::Dtype dtype) {
  return dtype == io::Dtype::F32 || dtype == io::Dtype::BF16 || dtype == io::Dtype::F16 || dtype == io::Dtype::F64;
}

std::optional<io::Dtype> dtype_of_config(const Json& config) {
  const std::string name = config.get_string("dtype", config.get_string("torch_dtype", ""));
  if (name == "bfloat16") return io::Dtype::BF16;
  if (name == "float16") return io::Dtype::F16;
  if (name == "float32") return io::Dtype::F32;
  return {};
}

io::Dtype dense_dtype(const checkpoint::Reader& reader) {
  if (const auto named = dtype_of_config(reader.config())) return *named;
  std::map<io::Dtype, int64_t> count;
  for (const io::TensorSpec& spec : reader.tensors()) {
    if (is_plain_float(spec.dtype) && spec.name.ends_with(".weight")) ++count[spec.dtype];
  }
  const auto most =
      std::max_element(count.begin(), count.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == count.end() ? io::Dtype::F32 : most->first;
}

Json without_old_keys(const Json& config) {
  Json out = config;
  out.erase("compression_config");
  const Json* text = out.find("text_config");
  if (text == nullptr || !text->is_object()) return out;
  Json kept = *text;
  for (const char* key : {"quantization_config", "compression_config"}) kept.erase(key);
  out.set("text_config", std::move(kept));
  return out;
}

void check_requantization(const format::CheckpointWeights& source, const Assignment& assignment,
                          const Context& context) {
  const std::vector<std::string> encoded = source.encoded_modules();
  if (encoded.empty()) return;
  std::set<std::string> schemes;
  for (const std::string& module : source.quantized_modules())
    schemes.insert(scheme::describe(*source.quantized_scheme(module)));
  std::string names;
  for (const std::string& name : schemes) names += (names.empty() ? "" : ", ") + name;
  const bool same = std::all_of(encoded.begin(), encoded.end(), [&](const std::string& module) {
    const scheme::Scheme *has = source.quantized_scheme(module), *wants = assignment.find(module);
    return has != nullptr && wants != nullptr && same_grid(*has->weights, *wants->weights) && same_inputs(*has, *wants);
  });
  SWAGE_CHECK(!same || assignment.kv_cache || encoded.size() < assignment.scheme_of.size(), InvalidArgument,
              "the source is quantized already (", names,
              ") as it would be here: rounding it again gains nothing; swage convert changes the format");
  context.log(Severity::Warning, cat("the source is quantized already (", names,
                                     "): its weights are dequantized, and the error of their first rounding stays"));
}

void check_no_transforms(const format::CheckpointWeights& weights, const std::filesystem::path& source,
                         std::string_view does) {
  SWAGE_CHECK(!weights.has_transforms(), Unsupported, source.string(),
              ": its transform_config has activations multiplied with matrices while the model runs, which ", does,
              " does not carry over; start from the model that it was made of");
}

void write_dequantized(const checkpoint::Reader& reader, const format::CheckpointWeights& source,
                       const OutputLayout& layout, checkpoint::Writer& writer) {
  for (const std::string& name : layout.dequantized) {
    const at::Tensor values_OI = source.load(name);  // refuses NaN and infinity
    const at::ScalarType dtype = checkpoint::scalar_type_of(stored_dtype(reader, name));
    SWAGE_CHECK(dtype != at::kHalf || values_OI.abs().max().item<float>() <= 65504, Numerical, name,
                ": has values beyond the range of f16");
    writer.put(name, values_OI.to(at::kCPU, dtype));
  }
}

}  // namespace swage::pipeline
