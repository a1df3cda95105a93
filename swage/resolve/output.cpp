#include "swage/resolve/output.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/base/json_respell.h"
#include "swage/eval/forward.h"
#include "swage/format/format.h"
#include "swage/model/stored_part.h"
#include "swage/resolve/activation_scales.h"
#include "swage/resolve/quantized_source.h"

namespace swage::pipeline {
namespace {

constexpr size_t kCopiedAtOnce = size_t{4} << 20;  // that one thread copies at a time

// The module whose weight `tensor` is, if that module is quantized; else empty.
std::string quantized_module(const std::string& tensor, const Assignment& assignment) {
  constexpr std::string_view kSuffix = ".weight";
  if (!tensor.ends_with(kSuffix)) return {};
  std::string module = tensor.substr(0, tensor.size() - kSuffix.size());
  return assignment.scheme_of.contains(module) ? module : std::string();
}

void append_module(const checkpoint::Reader& reader, const model::ModuleInfo& module, const Assignment& assignment,
                   OutputLayout& out) {
  const scheme::Scheme& scheme = *assignment.find(module.name);
  const format::Format& format = format::format_named(scheme.format);
  for (io::TensorSpec& spec : format.specs(*scheme.weights, module.rows, module.columns,
                                           scale_dtype_of(*scheme.weights, stored_dtype(reader, module.tensor())))) {
    spec.name = module.name + "." + spec.name;
    out.tensors.push_back(std::move(spec));
  }
  const io::TensorSpec* biases = module.stored_bias.shared() ? reader.find(module.stored_bias.tensor) : nullptr;
  if (biases != nullptr) {
    out.biases.push_back({module.name + ".bias", module.stored_bias, module.rows});
    out.tensors.push_back({out.biases.back().name, biases->dtype, {module.rows}});
  }
  if (!scheme.input_activations) return;
  for (io::TensorSpec& spec : input_specs(*scheme.input_activations, stored_dtype(reader, module.tensor()))) {
    spec.name = module.name + "." + spec.name;
    out.tensors.push_back(std::move(spec));
  }
}

// Scales of the KV cache and of the queries, behind the projection of the keys.
void append_cache(const checkpoint::Reader& reader, const model::ModuleInfo& module,
                  const graph::AttentionInfo& attention, const Assignment& assignment, OutputLayout& out) {
  if (!assignment.kv_cache || module.name != attention.keys) return;
  std::vector<io::TensorSpec> specs = head_specs({"k_scale", "v_scale"}, *assignment.kv_cache, attention.kv_heads,
                                                 stored_dtype(reader, module.tensor()));
  if (assignment.attention) {
    specs.push_back(head_specs({"q_scale"}, *assignment.attention->input_activations, attention.heads,
                               stored_dtype(reader, module.tensor()))[0]);
  }
  for (io::TensorSpec& spec : specs) {
    spec.name = attention.name + "." + spec.name;
    out.tensors.push_back(std::move(spec));
  }
}

void digest(const at::Tensor& tensor, uint64_t& hash) {
  if (!tensor.defined()) return;
  const at::Tensor flat = tensor.contiguous();
  const char* data = static_cast<const char*>(flat.const_data_ptr());
  const size_t bytes = size_t(flat.nbytes());
  hash = mix_hash(hash, bytes);
  size_t at = 0;
  for (; at + 8 <= bytes; at += 8) {
    uint64_t word;
    std::memcpy(&word, data + at, 8);
    hash = mix_hash(hash, word);
  }
  uint64_t rest = 0;
  std::memcpy(&rest, data + at, bytes - at);
  hash = mix_hash(hash, rest);
}

}  // namespace

io::Dtype stored_dtype(const checkpoint::Reader& reader, const std::string& tensor) {
  const io::TensorSpec* spec = reader.find(tensor);
  const io::Dtype dtype = spec != nullptr && is_plain_float(spec->dtype) ? spec->dtype : dense_dtype(reader);
  return dtype == io::Dtype::F64 ? io::Dtype::F32 : dtype;  // what is calculated is no finer than that
}

OutputLayout output_layout(const checkpoint::Reader& reader, const format::CheckpointWeights& weights,
                           const model::Model& model, const Assignment& assignment,
                           const std::set<std::string>& rewritten) {
  const std::vector<std::string> encoded = weights.encoded_modules();
  for (const std::string& name : rewritten) {
    SWAGE_CHECK(
        !weights.describes_quantization(name) && (reader.find(name) != nullptr || weights.shape(name).empty()),
        Unsupported, name,
        ": would be changed and stay dense, but the source holds it quantized; swage convert --to dense it first");
    SWAGE_CHECK(
        reader.find(name) != nullptr, Unsupported, name,
        ": would be changed and stay dense, but is a part of a tensor of several experts; quantize all of them");
  }
  std::set<std::string> dropped;  // source tensors that quantized modules replace
  for (const io::TensorSpec& spec : reader.tensors()) {
    if (!quantized_module(spec.name, assignment).empty() || weights.describes_quantization(spec.name))
      dropped.insert(spec.name);
  }
  const std::vector<model::ModuleInfo> modules = model.modules();
  for (const model::ModuleInfo& module : modules) {
    const bool encoded_whole = module.stored.shared() && reader.find(module.stored.tensor) == nullptr &&
                               !weights.shape(module.stored.tensor).empty();
    SWAGE_CHECK(!encoded_whole || assignment.find(module.name) != nullptr, Unsupported, module.stored.tensor,
                ": would stay as it is, but the source holds it quantized; quantize all of its experts");
    if (module.stored.shared() && assignment.find(module.name) != nullptr &&
        weights.quantized_scheme(module.name) == nullptr) {
      dropped.insert(module.stored.tensor);
      if (module.stored_bias.shared()) dropped.insert(module.stored_bias.tensor);
    }
  }
  std::map<int, std::vector<const io::TensorSpec*>> copied_of_block;  // -1: outside the blocks
  std::map<std::string, int> block_of;
  for (int64_t b = 0; b < model.blocks(); ++b) {
    for (const std::string& name : model.tensors_of_block(b)) block_of[name] = int(b);
  }
  for (const io::TensorSpec& spec : reader.tensors()) {
    if (dropped.contains(spec.name)) continue;
    const auto found = block_of.find(spec.name);
    copied_of_block[found == block_of.end() ? -1 : found->second].push_back(&spec);
  }
  std::map<int, std::vector<std::string>> dequantized_of_block;
  for (const std::string& module : encoded) {
    if (assignment.find(module) != nullptr) continue;
    const auto found = block_of.find(module + ".weight");
    dequantized_of_block[found == block_of.end() ? -1 : found->second].push_back(module);
  }
  OutputLayout out;
  for (int b = -1; b < model.blocks(); ++b) {
    for (const io::TensorSpec* spec : copied_of_block[b]) {
      out.tensors.push_back(*spec);
      if (!rewritten.contains(spec->name)) out.copied.push_back(spec->name);
    }
    for (const std::string& module : dequantized_of_block[b]) {
      const std::string name = module + ".weight";
      out.tensors.push_back({name, stored_dtype(reader, name), weights.shape(name)});
      out.dequantized.push_back(name);
    }
    const std::optional<graph::AttentionInfo> attention = b < 0 ? std::nullopt : model.attention(b);
    for (const model::ModuleInfo& module : modules) {
      if (module.block != b) continue;
      if (assignment.find(module.name) != nullptr) append_module(reader, module, assignment, out);
      if (attention) append_cache(reader, module, *attention, assignment, out);
    }
  }
  for (const io::TensorSpec& spec : out.tensors) out.bytes += io::data_bytes(spec);
  return out;
}

uint64_t stored_bytes(const scheme::Scheme& scheme, const model::ModuleInfo& module, io::Dtype dtype) {
  uint64_t sum = 0;
  const auto specs = format::format_named(scheme.format)
                         .specs(*scheme.weights, module.rows, module.columns, scale_dtype_of(*scheme.weights, dtype));
  for (const io::TensorSpec& spec : specs) sum += io::data_bytes(spec);
  return sum;
}

void put_quantized(checkpoint::Writer& writer, const std::string& module, const scheme::Scheme& scheme,
                   const format::QuantizedWeight& weight) {
  for (const auto& [suffix, tensor] : format::format_named(scheme.format).pack(*scheme.weights, weight)) {
    writer.put(module + "." + suffix, tensor);
  }
}

void copy_untouched(const checkpoint::Reader& reader, const OutputLayout& layout, checkpoint::Writer& writer) {
  for (const std::string& name : layout.copied) {
    const std::string_view bytes = reader.bytes(name);
    if (bytes.size() <= kCopiedAtOnce) {
      writer.put_bytes(name, bytes);
    } else {
      eval::for_each_parallel(int64_t((bytes.size() + kCopiedAtOnce - 1) / kCopiedAtOnce), [&](int64_t i) {
        writer.put_part(name, size_t(i) * kCopiedAtOnce, bytes.substr(size_t(i) * kCopiedAtOnce, kCopiedAtOnce));
      });
    }
    reader.drop(name);
  }
  for (const OutputLayout::Bias& bias : layout.biases)
    writer.put(bias.name, model::bias_part(bias.stored, bias.rows, reader.view(bias.stored.tensor)).contiguous());
}

void write_side_files(const Source& source, const Json& config, const Assignment& assignment,
                      const scheme::TransformGroups& transforms, const std::string& recipe_yaml,
                      checkpoint::Writer& writer) {
  scheme::QuantizationConfig quantization;
  quantization.transforms = transforms;
  quantization.groups = assignment.groups();
  if (assignment.attention)
    quantization.groups.emplace_back(cat("group_", quantization.groups.size()), *assignment.attention);
  quantization.ignore = assignment.ignore;
  quantization.kv_cache_scheme = assignment.kv_cache;
  write_side_files(source, config, quantization, recipe_yaml, writer);
}

void write_side_files(const Source& source, const Json& source_config, const scheme::QuantizationConfig& quantization,
                      const std::string& recipe_yaml, checkpoint::Writer& writer) {
  Json config = without_old_keys(source_config);
  const bool quantized =
      !quantization.groups.empty() || quantization.kv_cache_scheme || !quantization.transforms.empty();
  if (quantized || config.find("quantization_config") != nullptr) {
    config.set("quantization_config", quantized ? scheme::to_json(quantization) : Json());
  }
  writer.add_file("config.json", respelled_file(source.reader().folder() / "config.json", config));
  writer.add_file("recipe.yaml", recipe_yaml);
  source.copy_side_files(writer, "README.md");  // the card of another model: the output gets one of its own
}

bool orders_columns(const format::QuantizedWeight& weight) {
  if (!weight.g_idx_I.defined()) return false;
  const at::Tensor g_idx_I = weight.g_idx_I.cpu().contiguous();
  const int32_t* group = g_idx_I.const_data_ptr<int32_t>();
  const int64_t columns = g_idx_I.numel(), size = columns / weight.scale_OG.size(1);
  for (int64_t i = 0; i < columns; ++i) {
    if (group[i] != i / size) return true;
  }
  return false;
}

uint64_t fingerprint(const at::Tensor& weight) {
  uint64_t hash = 0x2545f4914f6cdd1du;
  digest(weight, hash);
  return hash;
}

uint64_t fingerprint(const format::QuantizedWeight& weight) {
  uint64_t hash = 0x2545f4914f6cdd1du;
  digest(weight.codes_OI, hash);
  digest(weight.scale_OG, hash);
  digest(weight.zero_point_OG, hash);
  digest(weight.global_scale, hash);
  if (orders_columns(weight)) digest(weight.g_idx_I, hash);
  return hash;
}

}  // namespace swage::pipeline
