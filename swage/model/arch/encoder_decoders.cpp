// Encoder-decoders: T5 and Flan-T5 (Raffel et al. 2020, arXiv:1910.10683), whose scores are not scaled and know
// distances by buckets; BART (Lewis et al. 2019, arXiv:1910.13461) with learned positions from row 2 on and norms
// behind.
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/encoders.h"

namespace swage::model {

using namespace graph;

namespace {

// Where an attention of these models stands and what it reads.
struct Place {
  std::string module;
  const char* names[4] = {"q", "k", "v", "o"};
  bool biases = false;
  Value source = -1;  // keys and values are of it; -1: of the queries' tokens
  bool causal = false;
  double scale = 1;
  std::optional<RelativeBias> relative = {};
};

Value attention(BlockBuilder& b, Value x, const Sizes& s, const Place& place) {
  const Value keys = place.source >= 0 ? place.source : x;
  const auto project = [&](Value from, Role role, int which) {
    return b.linear(from, role, place.module + "." + place.names[which], s.heads * s.head_size, place.biases);
  };
  const Value query = project(x, Role::Query, 0), key = project(keys, Role::Key, 1),
              value = project(keys, Role::Value, 2);
  AttentionNode form{};
  form.heads = form.kv_heads = s.heads;
  form.head_size = form.value_size = s.head_size;
  form.scale = place.scale;
  form.causal = place.causal;
  form.relative = place.relative;
  const Value mixed = b.attention(query, key, value, place.module, form);
  return b.linear(mixed, Role::Output, place.module + "." + place.names[3], s.hidden, place.biases);
}

struct T5 {
  Sizes sizes;
  bool gated;
  RelativeBias bias;
};

// One of the layer's two or three parts: what `part` makes of the normed stream.
void add_t5_part(BlockBuilder& b, const T5& t5, int index,
                 const std::function<Value(Value, const std::string&)>& part) {
  const std::string layer = cat("layer.", index, ".");
  b.add(part(b.norm(kStream, rms_norm(layer + "layer_norm", t5.sizes.hidden, t5.sizes.epsilon)), layer));
}

void add_t5_mlp(BlockBuilder& b, const T5& t5, int index) {
  constexpr const char* kGated[] = {"wi_0", "wi_1", "wo"};
  add_t5_part(b, t5, index, [&](Value x, const std::string& layer) {
    const std::string prefix = layer + "DenseReluDense.";
    if (t5.gated) return gated_mlp(b, x, prefix, t5.sizes.inner, t5.sizes.activation, false, kGated);
    return plain_mlp(b, x, prefix + "wi", prefix + "wo", t5.sizes.inner, t5.sizes.activation, false);
  });
}

BlockProgram t5_block(const T5& t5, int64_t index, bool decodes) {
  const std::string stack = decodes ? "decoder." : "encoder.";
  BlockBuilder b(cat(stack, "block.", index, "."), t5.sizes.hidden);
  b.only(decodes ? Rows::Target : Rows::Source);
  RelativeBias bias = t5.bias;
  bias.table = stack + "block.0.layer.0.SelfAttention.relative_attention_bias.weight";
  bias.own = index == 0;
  bias.both_sides = !decodes;
  add_t5_part(b, t5, 0, [&](Value x, const std::string& layer) {
    return attention(b, x, t5.sizes, {.module = layer + "SelfAttention", .causal = decodes, .relative = bias});
  });
  if (decodes) {
    add_t5_part(b, t5, 1, [&](Value x, const std::string& layer) {
      return attention(b, x, t5.sizes, {.module = layer + "EncDecAttention", .source = b.source()});
    });
  }
  add_t5_mlp(b, t5, decodes ? 2 : 1);
  return b.finish();
}

T5 t5_of(const ConfigFields& config) {
  T5 out{};
  Sizes& s = out.sizes;
  s.hidden = config.size("d_model");
  s.heads = s.kv_heads = config.size("num_heads", 65536);
  s.head_size = config.size("d_kv", 65536);
  SWAGE_CHECK(s.heads * s.head_size <= kLargestSize, CorruptData, "config.json: num_heads ", s.heads, " times d_kv ",
              s.head_size, " is too large");
  s.inner = config.size("d_ff");
  s.layers = config.size("num_layers", kMostLayers);
  s.epsilon = config.positive_or("layer_norm_epsilon", 1e-6);
  const std::string form = config.text_or("feed_forward_proj", "relu");
  out.gated = form.starts_with("gated-");
  Json named = Json::object();
  named.set("feed_forward_proj", form == "gated-gelu" ? "gelu_new" : out.gated ? form.substr(6) : form);
  s.activation = ConfigFields(named).activation("feed_forward_proj", "relu");
  out.bias.buckets = config.size_or("relative_attention_num_buckets", 32);
  out.bias.distance = config.size_or("relative_attention_max_distance", 128);
  SWAGE_CHECK(out.bias.buckets % 4 == 0 && out.bias.distance > out.bias.buckets / 2, CorruptData,
              "config.json: relative_attention_num_buckets ", out.bias.buckets,
              " with relative_attention_max_distance ", out.bias.distance);
  return out;
}

// At the end of the encoder, where the decoder reads it.
void end_encoder(BlockProgram& last, NormSpec norm) {
  last.nodes.push_back(NormNode{kStream, kStream, std::move(norm)});
}

int64_t start_token(const ConfigFields& config) {
  const Json* found = config.json().find("decoder_start_token_id");
  const int64_t vocabulary = config.size("vocab_size");
  if (found == nullptr || found->is_null()) return 0;
  SWAGE_CHECK(found->is_int() && found->as_int() >= 0 && found->as_int() < vocabulary, CorruptData,
              "config.json: decoder_start_token_id ", found->dump(), " is no token");
  return found->as_int();
}

}  // namespace

ModelProgram describe_t5(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const T5 t5 = t5_of(config);
  const int64_t hidden = t5.sizes.hidden, vocabulary = config.size("vocab_size");
  ModelProgram model;
  model.hidden_size = hidden;
  model.embedding = {"shared", vocabulary, hidden};
  model.target = TargetEmbedding{{}, {}, start_token(config)};
  for (int64_t i = 0; i < t5.sizes.layers; ++i) model.blocks.push_back(t5_block(t5, i, false));
  end_encoder(model.blocks.back(), rms_norm("encoder.final_layer_norm", hidden, t5.sizes.epsilon));
  const int64_t decoders = config.size_or("num_decoder_layers", t5.sizes.layers, kMostLayers);
  for (int64_t i = 0; i < decoders; ++i) model.blocks.push_back(t5_block(t5, i, true));
  model.final_norm = rms_norm("decoder.final_layer_norm", hidden, t5.sizes.epsilon);
  model.head = {"lm_head", Role::Head, vocabulary, hidden};
  // Version 1.1 has a head of its own, whose input is not scaled; transformers writes tie_word_embeddings true for
  // both.
  const bool tied = config.flag_or("tie_word_embeddings", true), stored = !weights.shape("shared.weight").empty();
  model.tied_embeddings = stored ? weights.shape("lm_head.weight").empty() : tied;
  if (config.flag_or("scale_decoder_outputs", tied)) model.logit_scale = 1 / std::sqrt(double(hidden));
  return model;
}

namespace {

struct Bart {
  Sizes sizes;
  std::string prefix;  // of all but the head
};

BlockProgram bart_block(const Bart& bart, int64_t index, bool decodes) {
  const Sizes& s = bart.sizes;
  BlockBuilder b(cat(bart.prefix, decodes ? "decoder" : "encoder", ".layers.", index, "."), s.hidden);
  b.only(decodes ? Rows::Target : Rows::Source);
  const auto normed = [&](Value x, const char* norm) {
    b.add(x);
    b.norm_stream(layer_norm(norm, s.hidden, s.epsilon));
  };
  Place place{.module = "self_attn",
              .names = {"q_proj", "k_proj", "v_proj", "out_proj"},
              .biases = true,
              .causal = decodes,
              .scale = 1 / std::sqrt(double(s.head_size))};
  normed(attention(b, kStream, s, place), "self_attn_layer_norm");
  if (decodes) {
    place.module = "encoder_attn";
    place.causal = false;
    place.source = b.source();
    normed(attention(b, kStream, s, place), "encoder_attn_layer_norm");
  }
  normed(plain_mlp(b, kStream, "fc1", "fc2", s.inner, s.activation, true), "final_layer_norm");
  return b.finish();
}

void add_bart_stack(ModelProgram& model, const ConfigFields& config, Bart bart, bool decodes) {
  const std::string stack = decodes ? "decoder_" : "encoder_";
  Sizes& s = bart.sizes;
  s.heads = s.kv_heads = config.size(stack + "attention_heads", 65536);
  SWAGE_CHECK(s.hidden % s.heads == 0, CorruptData, "config.json: d_model ", s.hidden, " is not a multiple of ", stack,
              "attention_heads ", s.heads);
  s.head_size = s.hidden / s.heads;
  s.inner = config.size(stack + "ffn_dim");
  const int64_t layers = config.size(stack + "layers", kMostLayers);
  for (int64_t i = 0; i < layers; ++i) model.blocks.push_back(bart_block(bart, i, decodes));
}

}  // namespace

ModelProgram describe_bart(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  constexpr int64_t kFirstPosition = 2;
  constexpr double kEpsilon = 1e-5;  // PyTorch's default; BART configs do not give one
  Bart bart{};
  Sizes& s = bart.sizes;
  s.hidden = config.size("d_model");
  s.epsilon = kEpsilon;
  s.activation = config.activation("activation_function", "gelu");
  bart.prefix = encoder_names(config, weights, "model.", "shared", "encoder.layernorm_embedding").prefix;
  ModelProgram model;
  model.hidden_size = s.hidden;
  model.max_positions = config.size("max_position_embeddings");
  model.embedding = {bart.prefix + "shared", config.size("vocab_size"), s.hidden};
  if (config.flag_or("scale_embedding", false)) model.embedding_scale = std::sqrt(double(s.hidden));
  model.position_offset = kFirstPosition;
  model.positions_first = true;
  const auto positions = [&](const char* stack) {
    return EmbeddingSpec{cat(bart.prefix, stack, ".embed_positions"), model.max_positions + kFirstPosition, s.hidden};
  };
  model.positions = positions("encoder");
  model.embedding_norm = layer_norm(bart.prefix + "encoder.layernorm_embedding", s.hidden, kEpsilon);
  model.target =
      TargetEmbedding{positions("decoder"), layer_norm(bart.prefix + "decoder.layernorm_embedding", s.hidden, kEpsilon),
                      start_token(config)};
  add_bart_stack(model, config, bart, false);
  add_bart_stack(model, config, bart, true);
  if (bart.prefix.empty()) {
    model.predicts = Predicts::Nothing;
    return model;
  }
  model.head = {"lm_head", Role::Head, model.embedding.rows, s.hidden};
  model.head.stored_bias = {.tensor = "final_logits_bias", .shape = {1, model.embedding.rows}};
  model.tied_embeddings = config.flag_or("tie_word_embeddings", true);
  return model;
}

}  // namespace swage::model
