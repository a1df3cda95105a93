#include "swage/convert/gguf_family.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <set>

#include "swage/base/error.h"
#include "swage/format/gguf_blocks.h"
#include "swage/io/tensor_spec.h"

namespace swage::pipeline {
namespace {

using io::GgufFile;
using Change = GgufChange;

// Of the tensor, which is 1-D and f32 in every file that a converter wrote.
std::vector<double> numbers_of(const GgufFile& file, const io::GgufTensor& tensor) {
  const at::Tensor values = format::decode_gguf(*tensor.type, file.bytes(tensor), tensor.shape);
  std::vector<double> out;
  for (int64_t i = 0; i < values.numel(); ++i) out.push_back(shortest_of(values.const_data_ptr<float>()[i]));
  return out;
}

int64_t head_width(const GgufKeys& keys) {
  const std::optional<int64_t> given = keys.whole_if("attention.key_length");
  const int64_t heads = keys.whole("attention.head_count");
  SWAGE_CHECK(heads > 0, CorruptData, "no heads");
  if (!given) return keys.whole("embedding_length") / heads;
  if (keys.whole_if("attention.value_length").value_or(*given) != *given)
    keys.refuse("attention.value_length", "keys and values of different widths are not read");
  return *given;
}

int64_t key_value_heads(const GgufKeys& keys) {
  return keys.whole_if("attention.head_count_kv").value_or(keys.whole("attention.head_count"));
}

// Llama 3's scaling of its frequencies, of which the file has what each is divided by: 1 for short waves, the factor
// for long ones, and between them, by wavelengths counted in the original context, from 1 to 4 of them in it, a mean.
Json llama3_scaling(const std::vector<double>& divisors, double theta, int64_t width) {
  constexpr double kLow = 1, kHigh = 4;
  const double factor = *std::max_element(divisors.begin(), divisors.end());
  if (factor <= 1) return nullptr;
  double sum = 0, least = 1, most = 1e18;
  int count = 0;
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double wave = 2 * std::numbers::pi * std::pow(theta, 2 * double(i) / double(width)), d = divisors[i];
    if (d <= 1.0001) {
      least = std::max(least, wave * kHigh);
    } else if (d >= factor * 0.9999) {
      most = std::min(most, wave * kLow);
    } else {
      sum += wave * (kLow + (kHigh - kLow) * (1 / d - 1 / factor) / (1 - 1 / factor));
      ++count;
    }
  }
  // Where no wave lies between, every context within these bounds divides them alike: a power of two.
  const double context =
      count > 0 ? std::round(sum / count) : std::exp2(std::round(std::log2(std::sqrt(least * most))));
  Json out = Json::object();
  out.set("rope_type", "llama3");
  out.set("factor", factor);
  out.set("low_freq_factor", kLow);
  out.set("high_freq_factor", kHigh);
  out.set("original_max_position_embeddings", int64_t(context));
  return out;
}

Json long_rope(const GgufKeys& keys, const GgufFile& file) {
  const io::GgufTensor *longs = file.find("rope_factors_long.weight"), *shorts = file.find("rope_factors_short.weight");
  if (longs == nullptr || shorts == nullptr) return nullptr;
  Json out = Json::object();
  out.set("rope_type", "longrope");
  for (const auto& [name, tensor] : {std::pair("long_factor", longs), std::pair("short_factor", shorts)}) {
    Json factors = Json::array();
    for (const double one : numbers_of(file, *tensor)) factors.push_back(one);
    out.set(name, std::move(factors));
  }
  if (const auto factor = keys.real_if("rope.scaling.attn_factor")) out.set("attention_factor", *factor);
  return out;
}

Json rope_scaling(const GgufKeys& keys, const GgufFile& file) {
  if (Json found = long_rope(keys, file); !found.is_null()) return found;
  const std::string type = keys.text_if("rope.scaling.type").value_or("none");
  Json out = Json::object();
  if (type == "linear" || type == "yarn") {
    out.set("rope_type", type);
    out.set("factor", keys.real("rope.scaling.factor"));
    if (type == "yarn") {
      out.set("original_max_position_embeddings", keys.whole("rope.scaling.original_context_length"));
      if (const auto fast = keys.real_if("rope.scaling.yarn_beta_fast")) out.set("beta_fast", *fast);
      if (const auto slow = keys.real_if("rope.scaling.yarn_beta_slow")) out.set("beta_slow", *slow);
    }
    return out;
  }
  if (type != "none" && type != "longrope") keys.refuse("rope.scaling.type", cat("\"", type, "\" is not read"));
  const io::GgufTensor* divisors = file.find("rope_freqs.weight");
  if (divisors == nullptr) return nullptr;
  return llama3_scaling(numbers_of(file, *divisors), keys.real_if("rope.freq_base").value_or(10000), head_width(keys));
}

bool has(const GgufFile& file, std::string_view name) { return file.find(name) != nullptr; }

// What all decoders with rotary positions and RMS norms have.
Json decoder(const GgufKeys& keys, const GgufFile& file, const char* model_type, const char* architecture) {
  Json out = Json::object();
  out.set("architectures", Json::Array{architecture});
  out.set("model_type", model_type);
  out.set("hidden_size", keys.whole("embedding_length"));
  out.set("intermediate_size", keys.whole("feed_forward_length"));
  out.set("num_hidden_layers", keys.whole("block_count"));
  out.set("num_attention_heads", keys.whole("attention.head_count"));
  out.set("num_key_value_heads", key_value_heads(keys));
  out.set("head_dim", head_width(keys));
  out.set("max_position_embeddings", keys.whole("context_length"));
  if (const auto eps = keys.real_if("attention.layer_norm_rms_epsilon")) out.set("rms_norm_eps", *eps);
  out.set("rope_theta", keys.real_if("rope.freq_base").value_or(10000));
  if (Json scaling = rope_scaling(keys, file); !scaling.is_null()) out.set("rope_scaling", std::move(scaling));
  return out;
}

Json llama(const GgufKeys& keys, const GgufFile& file) {
  const int64_t experts = keys.whole_if("expert_count").value_or(0);
  Json out =
      decoder(keys, file, experts > 0 ? "mixtral" : "llama", experts > 0 ? "MixtralForCausalLM" : "LlamaForCausalLM");
  out.set("hidden_act", "silu");
  if (experts > 0) {
    out.set("num_local_experts", experts);
    out.set("num_experts_per_tok", keys.whole("expert_used_count"));
    out.set("sliding_window", nullptr);
  } else {
    out.set("attention_bias", has(file, "blk.0.attn_q.bias"));
    out.set("mlp_bias", has(file, "blk.0.ffn_up.bias"));
  }
  return out;
}

Json qwen2(const GgufKeys& keys, const GgufFile& file) {
  Json out = decoder(keys, file, "qwen2", "Qwen2ForCausalLM");
  out.set("hidden_act", "silu");
  out.set("use_sliding_window", false);
  return out;
}

Json qwen3(const GgufKeys& keys, const GgufFile& file) {
  Json out = decoder(keys, file, "qwen3", "Qwen3ForCausalLM");
  out.set("hidden_act", "silu");
  out.set("attention_bias", has(file, "blk.0.attn_q.bias"));
  out.set("use_sliding_window", false);
  return out;
}

Json qwen3_moe(const GgufKeys& keys, const GgufFile& file) {
  Json out = decoder(keys, file, "qwen3_moe", "Qwen3MoeForCausalLM");
  out.set("hidden_act", "silu");
  out.set("attention_bias", has(file, "blk.0.attn_q.bias"));
  out.set("use_sliding_window", false);
  out.set("num_experts", keys.whole("expert_count"));
  out.set("num_experts_per_tok", keys.whole("expert_used_count"));
  out.set("moe_intermediate_size", keys.whole("expert_feed_forward_length"));
  out.set("norm_topk_prob", true);
  out.set("decoder_sparse_step", int64_t{1});
  out.set("mlp_only_layers", Json::array());
  return out;
}

// Scores are divided by the root of the head's width, but in the 27B models of the heads' share of the embedding.
Json gemma(const GgufKeys& keys, const GgufFile& file, const char* type, const char* architecture,
           int64_t layers_of_27b) {
  Json out = decoder(keys, file, type, architecture);
  out.set("hidden_activation", "gelu_pytorch_tanh");
  const bool is_27b = keys.whole("block_count") == layers_of_27b;
  out.set("query_pre_attn_scalar",
          is_27b ? keys.whole("embedding_length") / keys.whole("attention.head_count") : head_width(keys));
  out.set("sliding_window", keys.whole("attention.sliding_window"));
  const auto cap = [&](const char* key) {
    const std::optional<double> found = keys.real_if(key);
    return found ? Json(*found) : Json(nullptr);
  };
  out.set("attn_logit_softcapping", cap("attn_logit_softcapping"));
  out.set("final_logit_softcapping", cap("final_logit_softcapping"));
  return out;
}

Json gemma2(const GgufKeys& keys, const GgufFile& file) { return gemma(keys, file, "gemma2", "Gemma2ForCausalLM", 46); }

Json gemma3(const GgufKeys& keys, const GgufFile& file) {
  Json out = gemma(keys, file, "gemma3_text", "Gemma3ForCausalLM", 62);
  out.set("rope_local_base_freq", keys.real_if("rope.freq_base_swa").value_or(10000));
  out.set("sliding_window_pattern", int64_t{6});
  return out;
}

double rotary_share(const GgufKeys& keys) {
  const int64_t width = head_width(keys);
  return double(keys.whole_if("rope.dimension_count").value_or(width)) / double(width);
}

Json phi2(const GgufKeys& keys, const GgufFile& file) {
  Json out = decoder(keys, file, "phi", "PhiForCausalLM");
  out.erase("head_dim");
  out.set("hidden_act", "gelu_new");
  out.set("layer_norm_eps", keys.real("attention.layer_norm_epsilon"));
  out.set("partial_rotary_factor", rotary_share(keys));
  return out;
}

Json phi3(const GgufKeys& keys, const GgufFile& file) {
  Json out = decoder(keys, file, "phi3", "Phi3ForCausalLM");
  out.erase("head_dim");
  out.set("hidden_act", "silu");
  out.set("original_max_position_embeddings",
          keys.whole_if("rope.scaling.original_context_length").value_or(keys.whole("context_length")));
  const int64_t window = keys.whole_if("attention.sliding_window").value_or(0);
  out.set("sliding_window", window > 0 ? Json(window) : Json(nullptr));
  if (rotary_share(keys) != 1) out.set("partial_rotary_factor", rotary_share(keys));
  return out;
}

Json gpt2(const GgufKeys& keys, const GgufFile&) {
  Json out = Json::object();
  out.set("architectures", Json::Array{"GPT2LMHeadModel"});
  out.set("model_type", "gpt2");
  out.set("n_embd", keys.whole("embedding_length"));
  out.set("n_head", keys.whole("attention.head_count"));
  out.set("n_layer", keys.whole("block_count"));
  out.set("n_positions", keys.whole("context_length"));
  out.set("n_inner", keys.whole("feed_forward_length"));
  out.set("activation_function", "gelu_new");
  out.set("layer_norm_epsilon", keys.real("attention.layer_norm_epsilon"));
  return out;
}

const std::vector<GgufName> kEnds = {
    {"token_embd", "model.embed_tokens"}, {"output_norm", "model.norm"}, {"output", "lm_head"}};

std::vector<GgufName> joined(std::vector<GgufName> a, const std::vector<GgufName>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::vector<GgufName> attention(bool turned) {
  return {{"attn_norm", "input_layernorm"},
          {"attn_q", "self_attn.q_proj", turned ? Change::QueryRows : Change::None},
          {"attn_k", "self_attn.k_proj", turned ? Change::KeyRows : Change::None},
          {"attn_v", "self_attn.v_proj"},
          {"attn_output", "self_attn.o_proj"},
          {"attn_q_norm", "self_attn.q_norm"},
          {"attn_k_norm", "self_attn.k_norm"}};
}

const std::vector<GgufName> kGated = {{"ffn_norm", "post_attention_layernorm"},
                                      {"ffn_gate", "mlp.gate_proj"},
                                      {"ffn_up", "mlp.up_proj"},
                                      {"ffn_down", "mlp.down_proj"}};

const std::vector<GgufName> kMixtral = {{"ffn_norm", "post_attention_layernorm"},
                                        {"ffn_gate_inp", "block_sparse_moe.gate"},
                                        {"ffn_gate_exps", "block_sparse_moe.experts.{}.w1"},
                                        {"ffn_up_exps", "block_sparse_moe.experts.{}.w3"},
                                        {"ffn_down_exps", "block_sparse_moe.experts.{}.w2"},
                                        {"ffn_gate", "mlp.gate_proj"},
                                        {"ffn_up", "mlp.up_proj"},
                                        {"ffn_down", "mlp.down_proj"}};

const std::vector<GgufName> kExperts = {{"ffn_norm", "post_attention_layernorm"},
                                        {"ffn_gate_inp", "mlp.gate"},
                                        {"ffn_gate_exps", "mlp.experts.{}.gate_proj"},
                                        {"ffn_up_exps", "mlp.experts.{}.up_proj"},
                                        {"ffn_down_exps", "mlp.experts.{}.down_proj"}};

const std::vector<GgufName> kGemma = {{"ffn_norm", "pre_feedforward_layernorm"},
                                      {"post_attention_norm", "post_attention_layernorm"},
                                      {"post_ffw_norm", "post_feedforward_layernorm"},
                                      {"ffn_gate", "mlp.gate_proj"},
                                      {"ffn_up", "mlp.up_proj"},
                                      {"ffn_down", "mlp.down_proj"}};

// Norms that multiply by 1 + weight.
std::vector<GgufName> with_shifted_norms(std::vector<GgufName> names) {
  for (GgufName& name : names) {
    if (std::string_view(name.gguf).ends_with("norm")) name.change = Change::MinusOne;
  }
  return names;
}

std::vector<GgufFamily> make_families() {
  const std::vector<GgufName> of_gemma = with_shifted_norms(joined(attention(false), kGemma)),
                              gemma_ends = with_shifted_norms(kEnds);
  const char* layers = "model.layers.";
  return {
      {"llama", layers, kEnds, joined(attention(true), kMixtral), llama},
      {"qwen2", layers, kEnds, joined(attention(false), kGated), qwen2},
      {"qwen3", layers, kEnds, joined(attention(false), kGated), qwen3},
      {"qwen3moe", layers, kEnds, joined(attention(false), kExperts), qwen3_moe},
      {"gemma2", layers, gemma_ends, of_gemma, gemma2},
      {"gemma3", layers, gemma_ends, of_gemma, gemma3},
      {"phi2",
       layers,
       {{"token_embd", "model.embed_tokens"}, {"output_norm", "model.final_layernorm"}, {"output", "lm_head"}},
       {{"attn_norm", "input_layernorm"},
        {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.dense"},
        {"ffn_up", "mlp.fc1"},
        {"ffn_down", "mlp.fc2"}},
       phi2},
      {"phi3",
       layers,
       kEnds,
       {{"attn_norm", "input_layernorm"},
        {"attn_qkv", "self_attn.qkv_proj"},
        {"attn_output", "self_attn.o_proj"},
        {"ffn_norm", "post_attention_layernorm"},
        {"ffn_up", "mlp.gate_up_proj"},
        {"ffn_down", "mlp.down_proj"}},
       phi3},
      {"gpt2",
       "transformer.h.",
       {{"token_embd", "transformer.wte"}, {"position_embd", "transformer.wpe"}, {"output_norm", "transformer.ln_f"}},
       {{"attn_norm", "ln_1"},
        {"attn_qkv", "attn.c_attn", Change::Transposed},
        {"attn_output", "attn.c_proj", Change::Transposed},
        {"ffn_norm", "ln_2"},
        {"ffn_up", "mlp.c_fc", Change::Transposed},
        {"ffn_down", "mlp.c_proj", Change::Transposed}},
       gpt2},
  };
}

const std::vector<GgufFamily>& families() {
  static const std::vector<GgufFamily> all = make_families();
  return all;
}

// Values of the rotary embedding, which config.json has as numbers.
bool is_rope(std::string_view name) {
  return name == "rope_freqs.weight" || name == "rope_factors_long.weight" || name == "rope_factors_short.weight";
}

const GgufName* name_in(const std::vector<GgufName>& names, std::string_view gguf) {
  const auto found = std::find_if(names.begin(), names.end(), [&](const GgufName& name) { return gguf == name.gguf; });
  return found == names.end() ? nullptr : &*found;
}

// "blk.3.attn_q.bias" in its parts.
struct Split {
  int64_t layer = -1;
  std::string_view base, kind;  // "attn_q", ".bias"
};

std::optional<Split> split_of(std::string_view name) {
  Split out;
  out.base = name;
  if (name.starts_with("blk.")) {
    const size_t end = name.find('.', 4);
    if (end == std::string_view::npos || end == 4 || end > 4 + 6) return {};
    out.layer = 0;
    for (const char c : name.substr(4, end - 4)) {
      if (c < '0' || c > '9') return {};
      out.layer = out.layer * 10 + (c - '0');
    }
    out.base = name.substr(end + 1);
  }
  const size_t dot = out.base.rfind('.');
  if (dot == std::string_view::npos) return {};
  out.kind = out.base.substr(dot);
  out.base = out.base.substr(0, dot);
  return out;
}

void add_imports(const io::GgufTensor& tensor, const std::string& prefix, const GgufName& name, std::string_view kind,
                 std::vector<GgufImport>& out) {
  const std::string stored = prefix + name.stored;
  const size_t hole = stored.find("{}");
  GgufImport one{stored + std::string(kind), &tensor, name.change, -1, tensor.shape};
  if (hole == std::string::npos) {
    if (one.change == Change::Transposed && one.shape.size() == 2) std::swap(one.shape[0], one.shape[1]);
    out.push_back(std::move(one));
    return;
  }
  SWAGE_CHECK(tensor.shape.size() == 3, CorruptData, "tensor ", io::quoted(tensor.name),
              ": a stack of experts of shape ", io::shape_text(tensor.shape));
  one.shape.erase(one.shape.begin());
  for (int64_t expert = 0; expert < tensor.shape[0]; ++expert) {
    one.expert = expert;
    one.name = stored.substr(0, hole) + cat(expert) + stored.substr(hole + 2) + std::string(kind);
    out.push_back(one);
  }
}

}  // namespace

const GgufFamily& gguf_family(const GgufKeys& keys, const io::GgufFile& file) {
  std::string known;
  for (const GgufFamily& family : families()) {
    if (keys.architecture() == family.architecture) return family;
    known += cat(known.empty() ? "" : ", ", family.architecture);
  }
  throw Error(ErrorKind::Unsupported, cat(file.path().string(), ": GGUF architecture \"", keys.architecture(),
                                          "\" is not read; read are ", known));
}

Json gguf_config(const GgufFamily& family, const GgufKeys& keys, const io::GgufFile& file, const std::string& dtype) {
  Json out = family.config(keys, file);
  const io::GgufTensor* embedding = file.find("token_embd.weight");
  SWAGE_CHECK(embedding != nullptr && embedding->shape.size() == 2, CorruptData, file.path().string(),
              ": tensor \"token_embd.weight\" is missing or no table");
  out.set("vocab_size", embedding->shape[0]);
  out.set("tie_word_embeddings", !has(file, "output.weight"));
  for (const auto& [name, key] : {std::pair("bos_token_id", "tokenizer.ggml.bos_token_id"),
                                  std::pair("eos_token_id", "tokenizer.ggml.eos_token_id"),
                                  std::pair("pad_token_id", "tokenizer.ggml.padding_token_id")}) {
    const Json* id = keys.find(key);
    if (id != nullptr && id->is_int()) out.set(name, *id);
  }
  out.set("torch_dtype", dtype);
  return out;
}

std::vector<GgufImport> gguf_imports(const GgufFamily& family, const GgufKeys& keys, const io::GgufFile& file) {
  std::vector<GgufImport> out;
  const int64_t layers = keys.whole("block_count");
  for (const io::GgufTensor& tensor : file.tensors()) {
    if (is_rope(tensor.name)) continue;
    const std::optional<Split> split = split_of(tensor.name);
    const GgufName* name = split && (split->kind == ".weight" || split->kind == ".bias") && split->layer < layers
                               ? name_in(split->layer < 0 ? family.outside : family.inside, split->base)
                               : nullptr;
    SWAGE_CHECK(name != nullptr, Unsupported, file.path().string(), ": tensor ", io::quoted(tensor.name),
                " is not known in the architecture ", family.architecture);
    add_imports(tensor, split->layer < 0 ? "" : cat(family.layers, split->layer, "."), *name, split->kind, out);
  }
  return out;
}

}  // namespace swage::pipeline
