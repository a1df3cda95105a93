// BLOOM (arXiv:2211.05100) and MPT: slopes in place of positions, one linear for queries, keys and values.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

Sizes sizes_by(const ConfigFields& config, const char* hidden, const char* heads, const char* layers) {
  Sizes s{};
  s.hidden = config.size(hidden);
  s.heads = s.kv_heads = config.size(heads, 65536);
  SWAGE_CHECK(s.hidden % s.heads == 0, CorruptData, "config.json: ", hidden, " ", s.hidden, " is not a multiple of ",
              heads, " ", s.heads);
  s.head_size = s.hidden / s.heads;
  s.inner = 4 * s.hidden;
  s.layers = config.size(layers, kMostLayers);
  s.epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  return s;
}

}  // namespace

ModelProgram describe_bloom(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes s =
      sizes_by(config, config.json().find("n_embed") != nullptr ? "n_embed" : "hidden_size", "n_head", "n_layer");
  const bool bare =
      weights.shape("transformer.word_embeddings.weight").empty() && !weights.shape("word_embeddings.weight").empty();
  const std::string prefix = bare ? "" : "transformer.";
  const auto norm = [&](const std::string& name) { return layer_norm(name, s.hidden, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, prefix + "word_embeddings", norm(prefix + "ln_f"), true);
  model.embedding_norm = norm(prefix + "word_embeddings_layernorm");
  AttentionTraits attention{
      .module = "self_attention", .names = {"", "", "", "dense"}, .input_biases = true, .output_bias = true};
  attention.fused = AttentionTraits::Fused::ByHead;
  attention.fused_name = "query_key_value";
  attention.rope.reset();
  attention.alibi = 1;
  const bool norms_stream = config.flag_or("apply_residual_connection_post_layernorm", false);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat(prefix, "h.", layer, "."), s.hidden);
    const auto before = [&](const char* name) {
      if (!norms_stream) return b.norm(kStream, norm(name));
      b.norm_stream(norm(name));
      return kStream;
    };
    b.add(self_attention(b, before("input_layernorm"), s, attention));
    b.add(plain_mlp(b, before("post_attention_layernorm"), "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", s.inner,
                    Activation::GeluTanh, true));
    model.blocks.push_back(b.finish());
  }
  return model;
}

ModelProgram describe_mpt(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_by(config, "d_model", "n_heads", "n_layers");
  const Json* found = config.json().find("attn_config");
  const Json none = Json::object();
  const ConfigFields rules(found != nullptr && found->is_object() ? *found : none);
  SWAGE_CHECK(rules.flag_or("alibi", true) && !rules.flag_or("qk_ln", false) && !rules.flag_or("prefix_lm", false) &&
                  config.flag_or("no_bias", true),
              Unsupported,
              "config.json: of MPT only the form with alibi, without biases, norms of queries and keys and prefixes is "
              "supported");
  const auto norm = [&](const char* name) { return layer_norm(name, s.hidden, s.epsilon, false); };
  ModelProgram model = model_around(config, s.hidden, "transformer.wte", norm("transformer.norm_f"), true);
  model.max_positions = config.size_or("max_seq_len", 0, int64_t{1} << 40);
  AttentionTraits attention{.module = "attn", .names = {"", "", "", "out_proj"}};
  attention.fused = AttentionTraits::Fused::InTurn;
  attention.fused_name = "Wqkv";
  attention.rope.reset();
  attention.alibi = 1;
  attention.clip = rules.positive_or("clip_qkv", 0);
  attention.scale = rules.positive_or("softmax_scale", 0);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("transformer.blocks.", layer, "."), s.hidden);
    b.add(self_attention(b, b.norm(kStream, norm("norm_1")), s, attention));
    b.add(plain_mlp(b, b.norm(kStream, norm("norm_2")), "ffn.up_proj", "ffn.down_proj", s.inner, Activation::Gelu,
                    false));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
