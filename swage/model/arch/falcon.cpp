// Falcon (arXiv:2311.16867): one linear for queries, keys and values, and three layouts: attention and MLP side by side
// on one norm (7B, 11B) or on one each (40B, 180B), or one after the other with slopes in place of the rotary embedding
// (RW).
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

struct Falcon {
  Sizes sizes;
  bool grouped, parallel, biases, two_norms;
};

Falcon falcon_sizes(const ConfigFields& config) {
  Falcon out{};
  Sizes& s = out.sizes;
  s.hidden = config.size("hidden_size");
  s.heads = config.size("num_attention_heads", 65536);
  SWAGE_CHECK(s.hidden % s.heads == 0, CorruptData, "config.json: hidden_size ", s.hidden,
              " is not a multiple of num_attention_heads ", s.heads);
  s.head_size = s.hidden / s.heads;
  out.grouped = config.flag_or("new_decoder_architecture", false);
  const bool one = config.flag_or("multi_query", true) && !out.grouped;
  s.kv_heads = out.grouped ? config.size_or("num_kv_heads", s.heads, s.heads) : one ? 1 : s.heads;
  SWAGE_CHECK(s.heads % s.kv_heads == 0, CorruptData, "config.json: num_attention_heads ", s.heads,
              " is not a multiple of num_kv_heads ", s.kv_heads);
  s.inner = config.size_or("ffn_hidden_size", 4 * s.hidden);
  s.layers = config.size("num_hidden_layers", kMostLayers);
  s.epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  s.activation = config.activation("activation", "gelu");
  out.parallel = out.grouped || config.flag_or("parallel_attn", true);
  out.biases = config.flag_or("bias", false);
  out.two_norms = out.grouped && config.size_or("num_ln_in_parallel_attn", 2) == 2;
  return out;
}

}  // namespace

ModelProgram describe_falcon(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Falcon f = falcon_sizes(config);
  const Sizes& s = f.sizes;
  const auto norm = [&](const char* name) { return layer_norm(name, s.hidden, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, "transformer.word_embeddings", norm("transformer.ln_f"), true);
  model.ropes = {rope_of(config, s.head_size, 10000)};
  AttentionTraits attention{
      .module = "self_attention", .names = {"", "", "", "dense"}, .input_biases = f.biases, .output_bias = f.biases};
  attention.fused = AttentionTraits::Fused::ByHead;
  attention.fused_name = "query_key_value";
  if (config.flag_or("alibi", false)) {
    attention.alibi = 1 / std::sqrt(static_cast<double>(s.head_size));  // they are scaled as scores are
    attention.rope.reset();
  }
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("transformer.h.", layer, "."), s.hidden);
    const Value x = b.norm(kStream, norm(f.two_norms ? "ln_attn" : "input_layernorm"));
    Value y = f.two_norms ? b.norm(kStream, norm("ln_mlp")) : x;
    b.add(self_attention(b, x, s, attention));
    if (!f.parallel) y = b.norm(kStream, norm("post_attention_layernorm"));
    b.add(plain_mlp(b, y, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", s.inner, s.activation, f.biases));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
