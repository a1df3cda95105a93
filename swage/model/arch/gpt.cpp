// The GPT-2 line: GPT-2 (weights stored [in, out]), StarCoder's GPT-BigCode, GPT-Neo (every other layer with a window),
// GPT-J and CodeGen (attention and MLP side by side, rotary embedding in pairs).
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

Sizes gpt_sizes(const ConfigFields& config, const char* hidden, const char* heads, const char* layers,
                const char* inner) {
  Sizes s{};
  s.hidden = config.size(hidden);
  s.heads = s.kv_heads = config.size(heads, 65536);
  SWAGE_CHECK(s.hidden % s.heads == 0, CorruptData, "config.json: ", hidden, " ", s.hidden, " is not a multiple of ",
              heads, " ", s.heads);
  s.head_size = s.hidden / s.heads;
  s.inner = config.size_or(inner, 4 * s.hidden);
  s.layers = config.size(layers, kMostLayers);
  s.epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  s.activation = config.activation("activation_function", "gelu_new");
  return s;
}

// Token and position tables, final norm and head; `prefix` is "transformer." or nothing.
ModelProgram gpt_around(const ConfigFields& config, const Sizes& s, const std::string& prefix, const char* positions,
                        bool tied) {
  ModelProgram model =
      model_around(config, s.hidden, prefix + "wte", layer_norm(prefix + "ln_f", s.hidden, s.epsilon), tied);
  model.max_positions = config.size(positions, int64_t{1} << 40);
  return model;
}

std::string prefix_of(const checkpoint::WeightSource& weights) {
  return weights.shape("transformer.wte.weight").empty() && !weights.shape("wte.weight").empty() ? "" : "transformer.";
}

}  // namespace

ModelProgram describe_gpt2(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes s = gpt_sizes(config, "n_embd", "n_head", "n_layer", "n_inner");
  const std::string prefix = prefix_of(weights);
  ModelProgram model = gpt_around(config, s, prefix, "n_positions", true);
  model.positions = EmbeddingSpec{prefix + "wpe", model.max_positions, s.hidden};
  const bool by_layer = config.flag_or("scale_attn_by_inverse_layer_idx", false),
             scaled = config.flag_or("scale_attn_weights", true);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat(prefix, "h.", layer, "."), s.hidden);
    // Readers know these layers as Conv1D, which no quantization of linears takes.
    const auto conv = [&](Value x, Role role, const char* name, int64_t rows) {
      return b.linear(x, {.name = name,
                          .role = role,
                          .rows = rows,
                          .bias = true,
                          .keeps_float = true,
                          .stored = {.transposed = true}});
    };
    const Value all = conv(b.norm(kStream, layer_norm("ln_1", s.hidden, s.epsilon)), Role::QueryKeyValue, "attn.c_attn",
                           3 * s.hidden);
    const std::vector<Value> parts = b.split(all, {s.hidden, s.hidden, s.hidden});
    AttentionNode form{.heads = s.heads, .kv_heads = s.heads, .head_size = s.head_size, .value_size = s.head_size};
    form.scale = (scaled ? 1 / std::sqrt(static_cast<double>(s.head_size)) : 1) /
                 (by_layer ? static_cast<double>(layer + 1) : 1);
    b.add(conv(b.attention(parts[0], parts[1], parts[2], "attn", form), Role::Output, "attn.c_proj", s.hidden));
    const Value y = b.norm(kStream, layer_norm("ln_2", s.hidden, s.epsilon));
    b.add(conv(b.activate(conv(y, Role::Up, "mlp.c_fc", s.inner), s.activation), Role::Down, "mlp.c_proj", s.hidden));
    model.blocks.push_back(b.finish());
  }
  return model;
}

ModelProgram describe_gpt_bigcode(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  Sizes s = gpt_sizes(config, "n_embd", "n_head", "n_layer", "n_inner");
  if (config.flag_or("multi_query", true)) s.kv_heads = 1;
  const std::string prefix = prefix_of(weights);
  ModelProgram model = gpt_around(config, s, prefix, "n_positions", true);
  model.positions = EmbeddingSpec{prefix + "wpe", model.max_positions, s.hidden};
  AttentionTraits attention{
      .module = "attn", .names = {"", "", "", "c_proj"}, .input_biases = true, .output_bias = true};
  attention.fused = AttentionTraits::Fused::ByHead;
  attention.fused_name = "c_attn";
  attention.rope.reset();
  if (!config.flag_or("scale_attn_weights", true)) attention.scale = 1;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat(prefix, "h.", layer, "."), s.hidden);
    b.add(self_attention(b, b.norm(kStream, layer_norm("ln_1", s.hidden, s.epsilon)), s, attention));
    b.add(plain_mlp(b, b.norm(kStream, layer_norm("ln_2", s.hidden, s.epsilon)), "mlp.c_fc", "mlp.c_proj", s.inner,
                    s.activation, true));
    model.blocks.push_back(b.finish());
  }
  return model;
}

ModelProgram describe_gpt_neo(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes s = gpt_sizes(config, "hidden_size", "num_heads", "num_layers", "intermediate_size");
  const std::string prefix = prefix_of(weights);
  ModelProgram model = gpt_around(config, s, prefix, "max_position_embeddings", true);
  model.positions = EmbeddingSpec{prefix + "wpe", model.max_positions, s.hidden};
  const std::vector<std::string> kinds = config.texts("attention_layers", s.layers);
  const int64_t window = config.size_or("window_size", 256, int64_t{1} << 40);
  AttentionTraits attention{
      .module = "attn.attention", .names = {"q_proj", "k_proj", "v_proj", "out_proj"}, .output_bias = true};
  attention.rope.reset();
  attention.scale = 1;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const bool local = kinds.empty() ? layer % 2 == 1 : kinds[static_cast<size_t>(layer)] == "local";
    BlockBuilder b(cat(prefix, "h.", layer, "."), s.hidden);
    attention.window = local ? window : 0;
    b.add(self_attention(b, b.norm(kStream, layer_norm("ln_1", s.hidden, s.epsilon)), s, attention));
    b.add(plain_mlp(b, b.norm(kStream, layer_norm("ln_2", s.hidden, s.epsilon)), "mlp.c_fc", "mlp.c_proj", s.inner,
                    s.activation, true));
    model.blocks.push_back(b.finish());
  }
  return model;
}

namespace {

// GPT-J and CodeGen; `attend` computes what attention adds.
ModelProgram describe_side_by_side(const ConfigFields& config, const Sizes& s,
                                   const std::function<Value(BlockBuilder&, Value)>& attend) {
  ModelProgram model = gpt_around(config, s, "transformer.", "n_positions", false);
  model.head.bias = true;
  model.ropes = {{.size = config.size_or("rotary_dim", s.head_size, s.head_size), .interleaved = true}};
  SWAGE_CHECK(model.ropes[0].size % 2 == 0, CorruptData, "config.json: rotary_dim ", model.ropes[0].size,
              " cannot be rotated in pairs");
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("transformer.h.", layer, "."), s.hidden);
    const Value x = b.norm(kStream, layer_norm("ln_1", s.hidden, s.epsilon));
    b.add(attend(b, x));
    b.add(plain_mlp(b, x, "mlp.fc_in", "mlp.fc_out", s.inner, s.activation, true));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace

ModelProgram describe_gptj(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = gpt_sizes(config, "n_embd", "n_head", "n_layer", "n_inner");
  const AttentionTraits attention{.module = "attn", .names = {"q_proj", "k_proj", "v_proj", "out_proj"}};
  return describe_side_by_side(config, s, [&](BlockBuilder& b, Value x) { return self_attention(b, x, s, attention); });
}

// One linear in four parts, each with queries, values and keys of a quarter of the heads.
ModelProgram describe_codegen(const ConfigFields& config, const checkpoint::WeightSource&) {
  constexpr int64_t kParts = 4;
  const Sizes s = gpt_sizes(config, "n_embd", "n_head", "n_layer", "n_inner");
  SWAGE_CHECK(s.heads % kParts == 0, CorruptData, "config.json: n_head ", s.heads, " is not a multiple of ", kParts);
  return describe_side_by_side(config, s, [&](BlockBuilder& b, Value x) {
    const int64_t part = s.hidden / kParts;
    const std::vector<Value> parts =
        b.split(b.linear(x, Role::QueryKeyValue, "attn.qkv_proj", 3 * s.hidden), {part, part, part}, kParts);
    AttentionNode form{.heads = s.heads, .kv_heads = s.heads, .head_size = s.head_size, .value_size = s.head_size};
    form.scale = 1 / std::sqrt(static_cast<double>(s.head_size));
    const Value mixed = b.attention(b.rope(parts[0], s.heads, 0), b.rope(parts[2], s.heads, 0), parts[1], "attn", form);
    return b.linear(mixed, Role::Output, "attn.out_proj", s.hidden);
  });
}

}  // namespace swage::model
