#include "swage/shards/model_free_modules.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <set>

#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

constexpr std::string_view kWeight = ".weight";

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view leaf_of(std::string_view module) { return module.substr(module.rfind('.') + 1); }

enum class Kind { Linear, Embedding, Norm, Router, Head };

// By the names that published checkpoints use. In doubt a module is left alone: that costs size, the contrary quality.
Kind kind_of(const std::string& module) {
  std::string leaf(leaf_of(module));
  std::transform(leaf.begin(), leaf.end(), leaf.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  const auto has = [&](std::string_view part) { return leaf.find(part) != std::string::npos; };
  const bool outermost = module.find('.') == std::string::npos;
  if (one_of(leaf, {"lm_head", "embed_out", "score"}) || (outermost && one_of(leaf, {"output", "head", "classifier"})))
    return Kind::Head;
  if (has("norm") || leaf.starts_with("ln_")) return Kind::Norm;
  if (leaf.starts_with("embed_") || leaf.ends_with("embedding") || leaf.ends_with("embeddings")) return Kind::Embedding;
  if (one_of(leaf, {"wte", "wpe", "relative_attention_bias"})) return Kind::Embedding;
  if (one_of(leaf, {"gate", "router", "shared_expert_gate"}) || has("router") ||
      module.find(".router.") != std::string::npos)
    return Kind::Router;
  return has("embed") ? Kind::Router : Kind::Linear;  // projections of embeddings: linears that stay as they are
}

bool is_float(io::Dtype dtype) {
  return dtype == io::Dtype::BF16 || dtype == io::Dtype::F16 || dtype == io::Dtype::F32 || dtype == io::Dtype::F64;
}

void set_dtype(SourceModule& module, io::Dtype stored) {
  module.stored = stored;
  module.dtype = stored == io::Dtype::F64 ? io::Dtype::F32 : stored;
}

// Runs of digits compare as numbers, and what has no dot comes last.
bool natural_less(const std::string& a, const std::string& b) {
  const bool a_outer = a.find('.') == std::string::npos, b_outer = b.find('.') == std::string::npos;
  if (a_outer != b_outer) return b_outer;
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t i = 0, k = 0;
  while (i < a.size() && k < b.size()) {
    if (!digit(a[i]) || !digit(b[k])) {
      if (a[i] != b[k]) return a[i] < b[k];
      ++i, ++k;
      continue;
    }
    size_t i_end = i, k_end = k;
    while (i_end < a.size() && digit(a[i_end])) ++i_end;
    while (k_end < b.size() && digit(b[k_end])) ++k_end;
    if (i_end - i != k_end - k) return i_end - i < k_end - k;
    const int order = a.compare(i, i_end - i, b, k, k_end - k);
    if (order != 0) return order < 0;
    i = i_end, k = k_end;
  }
  return a.size() - i < b.size() - k;
}

class ModuleFinder {
 public:
  ModuleFinder(const checkpoint::Reader& reader, const std::vector<std::string>& exact_targets)
      : reader_(reader),
        exact_(exact_targets.begin(), exact_targets.end()) {
    const Json& config = reader.config();
    model_type_ = config.get_string("model_type", "");
    const Json* text = config.find("text_config");
    tied_ = config.get_bool("tie_word_embeddings",
                            text != nullptr && text->is_object() && text->get_bool("tie_word_embeddings", false));
  }

  SourceModules find() {
    for (const io::TensorSpec& spec : reader_.tensors()) {
      if (spec.name.ends_with(".weight_packed") || spec.name.ends_with(".weight_scale"))
        add_quantized(spec.name.substr(0, spec.name.rfind('.')));
      if (spec.name.ends_with(".gate_up_proj") && spec.shape.size() == 3) add_experts(spec);
      if (spec.name.ends_with(kWeight) && spec.shape.size() == 2) add_matrix(spec);
      warn_of_experts(spec);
    }
    std::sort(out_.modules.begin(), out_.modules.end(),
              [](const auto& a, const auto& b) { return natural_less(a.info.name, b.info.name); });
    add_tied_head();
    return std::move(out_);
  }

 private:
  void add_quantized(const std::string& name) {
    if (!seen_.insert(name).second) return;
    SourceModule module;
    module.info = {name, "Linear", 0, 0, 0, false};
    module.is_quantized = true;
    out_.modules.push_back(std::move(module));
  }

  void add_matrix(const io::TensorSpec& spec) {
    const std::string name = spec.name.substr(0, spec.name.size() - kWeight.size());
    const Kind kind = kind_of(name);
    if (kind == Kind::Norm || reader_.find(name + ".weight_scale") != nullptr) return;
    SourceModule module;
    module.info = {name, kind == Kind::Embedding ? "Embedding" : "Linear", spec.shape[0], spec.shape[1], 0, true};
    if (kind == Kind::Embedding || kind == Kind::Head) module.info.block = -1;
    module.info.quantizable =
        is_float(spec.dtype) && io::data_bytes(spec) > 0 && (kind == Kind::Linear || exact_.contains(name));
    module.tensor = spec.name;
    set_dtype(module, spec.dtype);
    module.stride = spec.shape[1];
    if (one_of(model_type_, {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}))
      module.obstacle = "this architecture stores weights transposed, as Conv1D";
    named_head_ = named_head_ || name == "lm_head";
    out_.has_head = out_.has_head || kind == Kind::Head;
    out_.has_embedding = out_.has_embedding || kind == Kind::Embedding;
    out_.modules.push_back(std::move(module));
  }

  // gate_up_proj [E, 2I, H] and down_proj [E, H, I], or both with the last two dimensions exchanged: their sizes tell
  // which.
  void add_experts(const io::TensorSpec& gate_up) {
    const std::string parent = gate_up.name.substr(0, gate_up.name.rfind('.'));
    const io::TensorSpec* down = reader_.find(parent + ".down_proj");
    if (leaf_of(parent) != "experts" || down == nullptr || down->shape.size() != 3 ||
        down->shape[0] != gate_up.shape[0])
      return;
    const int64_t experts = gate_up.shape[0];
    const bool straight = gate_up.shape[1] == 2 * down->shape[2] && gate_up.shape[2] == down->shape[1];
    const bool transposed = gate_up.shape[2] == 2 * down->shape[1] && gate_up.shape[1] == down->shape[2];
    if (!is_float(gate_up.dtype) || !is_float(down->dtype) || (!straight && !transposed)) return;
    const bool biased = reader_.find(gate_up.name + "_bias") != nullptr;
    const int64_t hidden = straight ? down->shape[1] : down->shape[2],
                  inner = straight ? down->shape[2] : down->shape[1];
    const bool mixtral = model_type_ == "mixtral";
    std::string prefix = parent;
    if (mixtral && parent.ends_with(".mlp.experts"))
      prefix = parent.substr(0, parent.size() - std::strlen("mlp.experts")) + "block_sparse_moe.experts";
    for (int64_t e = 0; e < experts; ++e) {
      const std::string expert = cat(prefix, ".", e, ".");
      add_slice(expert + (mixtral ? "w1" : "gate_proj"), gate_up, e, 0, inner, hidden, transposed, biased);
      add_slice(expert + (mixtral ? "w3" : "up_proj"), gate_up, e, inner, inner, hidden, transposed, biased);
      add_slice(expert + (mixtral ? "w2" : "down_proj"), *down, e, 0, hidden, inner, transposed, biased);
    }
    understood_.insert(gate_up.name);
    understood_.insert(down->name);
  }

  // Rows first .. first + rows of matrix `index` of a 3-D tensor.
  void add_slice(const std::string& name, const io::TensorSpec& spec, int64_t index, int64_t first, int64_t rows,
                 int64_t columns, bool transposed, bool biased) {
    SourceModule module;
    module.info = {name, "Linear", rows, columns, 0, io::data_bytes(spec) > 0};
    module.tensor = spec.name;
    set_dtype(module, spec.dtype);
    module.transposed = transposed;
    module.stride = spec.shape[2];
    const int64_t before = index * spec.shape[1] * spec.shape[2] + (transposed ? first : first * columns);
    module.offset = uint64_t(before) * uint64_t(io::bits_of(spec.dtype)) / 8;
    if (biased) module.obstacle = "experts with biases have rows of gate and up interleaved, which is not supported";
    out_.modules.push_back(std::move(module));
  }

  void warn_of_experts(const io::TensorSpec& spec) {
    const bool suspect =
        spec.shape.size() == 3 && is_float(spec.dtype) && spec.name.find(".experts.") != std::string::npos;
    if (suspect) suspects_.push_back(spec.name);
  }

  // A head that is not stored is still a module.
  void add_tied_head() {
    for (const std::string& name : suspects_) {
      if (!understood_.contains(name))
        out_.warnings.push_back(cat(name, ": left as it is: a 3-D tensor of an unknown layout"));
    }
    if (named_head_) return;
    SourceModule module;
    module.info = {"lm_head", "Linear", 0, 0, -1, false};
    out_.modules.push_back(std::move(module));
    out_.tied_embeddings = tied_ && !out_.has_head;
  }

  const checkpoint::Reader& reader_;
  const std::set<std::string> exact_;
  std::string model_type_;
  bool tied_ = false, named_head_ = false;
  std::set<std::string> seen_, understood_;
  std::vector<std::string> suspects_;
  SourceModules out_;
};

}  // namespace

SourceModules find_modules(const checkpoint::Reader& reader, const std::vector<std::string>& exact_targets) {
  return ModuleFinder(reader, exact_targets).find();
}

void read_stored_rows(const checkpoint::Reader& reader, const SourceModule& module, int64_t first, int64_t count,
                      char* to) {
  const uint64_t element = uint64_t(io::bits_of(module.stored)) / 8;
  const int64_t columns = module.info.columns;
  if (!module.transposed) {
    reader.read_bytes(module.tensor, module.offset + uint64_t(first * module.stride) * element, to,
                      uint64_t(count * columns) * element);
    return;
  }
  std::vector<char> stored(size_t(columns * count) * element);  // [columns, count]
  reader.read_runs(module.tensor, module.offset + uint64_t(first) * element, uint64_t(module.stride) * element,
                   uint64_t(columns), stored.data(), uint64_t(count) * element);
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < count; ++r)
      std::memcpy(to + uint64_t(r * columns + c) * element, stored.data() + uint64_t(c * count + r) * element, element);
  }
}

void read_rows(const checkpoint::Reader& reader, const SourceModule& module, int64_t first, int64_t count, char* to) {
  if (module.stored == module.dtype) return read_stored_rows(reader, module, first, count, to);
  std::vector<double> wide(size_t(count * module.info.columns));
  read_stored_rows(reader, module, first, count, reinterpret_cast<char*>(wide.data()));
  std::transform(wide.begin(), wide.end(), reinterpret_cast<float*>(to), [](double value) { return float(value); });
}

}  // namespace swage::pipeline
