// DeBERTa v2 and v3 (He et al. 2021, arXiv:2006.03654, 2111.09543): BERT's layers with disentangled attention, and in
// the larger v2 models a convolution beside the first layer.
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/encoders.h"

namespace swage::model {

using namespace graph;

namespace {

// A size that may be 0 or below, which means that there is none.
int64_t size_or_none(const ConfigFields& config, const char* key, int64_t fallback) {
  const Json* found = config.json().find(key);
  return found != nullptr && found->is_int() && found->as_int() <= 0 ? 0 : config.size_or(key, fallback);
}

bool names_kind(const ConfigFields& config, const std::string& kind) {
  const Json* list = config.json().find("pos_att_type");
  if (list == nullptr || list->is_null()) return false;
  if (list->is_string()) return ("|" + list->as_string() + "|").find("|" + kind + "|") != std::string::npos;
  SWAGE_CHECK(list->is_array(), CorruptData, "config.json: pos_att_type must be a list of c2p and p2c");
  for (const Json& one : list->as_array()) {
    if (one.is_string() && one.as_string() == kind) return true;
  }
  return false;
}

// What is the same in each layer; linears are still to be named.
Disentangled disentangled_of(const ConfigFields& config, const Sizes& s, const EncoderNames& names) {
  Disentangled out{};
  out.table = names.prefix + "encoder.rel_embeddings.weight";
  const bool normed = config.text_or("norm_rel_ebd", "none").find("layer_norm") != std::string::npos;
  if (normed) out.norm = layer_norm(names.prefix + "encoder.LayerNorm", s.hidden, s.epsilon);
  if (normed) out.norm->greek = names.greek;
  out.buckets = size_or_none(config, "position_buckets", 0);
  out.distance = size_or_none(config, "max_relative_positions", 0);
  if (out.distance == 0) out.distance = config.size("max_position_embeddings");
  out.span = out.buckets > 0 ? out.buckets : out.distance;
  SWAGE_CHECK(out.buckets == 0 || (out.buckets > 1 && out.distance - 1 > out.buckets / 2), CorruptData,
              "config.json: position_buckets ", out.buckets, " for distances up to ", out.distance);
  out.to_position = names_kind(config, "c2p");
  out.from_position = names_kind(config, "p2c");
  return out;
}

AttentionNode attention_of(const ConfigFields& config, const Sizes& s, Disentangled bias, int query, int key) {
  AttentionNode out{};
  out.scale = 1 / std::sqrt(double(s.head_size) * (1 + int(bias.to_position) + int(bias.from_position)));
  bias.query = query;
  bias.key = key;
  if (!config.flag_or("share_att_key", false)) {
    const auto own = [&](const char* name) {
      return LinearSpec{name, Role::Projection, s.hidden, s.hidden, true, -1, true};
    };
    if (bias.to_position) bias.own_key = own("attention.self.pos_key_proj");
    if (bias.from_position) bias.own_query = own("attention.self.pos_query_proj");
  }
  out.disentangled = std::move(bias);
  return out;
}

// Beside the first layer; what it makes is added behind that.
Value add_convolution(BlockBuilder& b, const ConfigFields& config, const std::string& prefix, int64_t kernel) {
  SWAGE_CHECK(kernel % 2 == 1, Unsupported, "config.json: conv_kernel_size ", kernel,
              " is not supported, only odd ones");
  config.require_number("conv_groups", 1);
  const std::string layer = b.prefix();
  b.set_prefix(prefix);
  const Value out = b.neighbours(kStream, "conv", kernel, config.activation("conv_act", "tanh"));
  b.set_prefix(layer);
  return out;
}

}  // namespace

ModelProgram describe_deberta_v2(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  Sizes s = bert_sizes(config);
  s.epsilon = config.positive_or("layer_norm_eps", 1e-7);
  config.require_number("embedding_size", double(s.hidden));
  SWAGE_CHECK(config.flag_or("relative_attention", false), Unsupported,
              "config.json: relative_attention false is not supported");
  const EncoderNames names =
      encoder_names(config, weights, "deberta.", "embeddings.word_embeddings", "embeddings.LayerNorm");
  ModelProgram model = bert_embeddings(config, s, names, s.hidden, size_or_none(config, "type_vocab_size", 0));
  if (!config.flag_or("position_biased_input", true)) model.positions.reset();
  Disentangled bias = disentangled_of(config, s, names);
  const EncoderLayerNames layer_names{"attention.self.query_proj", "attention.self.key_proj",
                                      "attention.self.value_proj"};
  const int64_t kernel = size_or_none(config, "conv_kernel_size", 0);
  const std::string conv = names.prefix + "encoder.conv.";
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat(names.prefix, "encoder.layer.", layer, "."), s.hidden);
    const bool convolves = layer == 0 && kernel > 0;
    const Value beside = convolves ? add_convolution(b, config, conv, kernel) : kStream;
    bias.own = layer == 0;
    add_encoder_layer(b, s, layer_names, names.greek,
                      [&](int query, int key) { return attention_of(config, s, bias, query, key); });
    if (convolves) {
      b.add(beside);
      b.set_prefix(conv);
      b.norm_stream(layer_norm("LayerNorm", s.hidden, s.epsilon));
    }
    model.blocks.push_back(b.finish());
  }
  const std::string legacy = "cls.predictions.transform.", now = "lm_predictions.lm_head.";
  if (config.flag_or("legacy", true) && has_head(config, weights, names, legacy + "dense", "ForMaskedLM"))
    add_masked_head(model, config,
                    {legacy + "dense", legacy + "LayerNorm", "cls.predictions.decoder", "cls.predictions.bias"},
                    s.activation, layer_norm("", s.hidden, s.epsilon));
  else if (!config.flag_or("legacy", true) && has_head(config, weights, names, now + "dense", "ForMaskedLM"))
    add_masked_head(model, config, {now + "dense", now + "LayerNorm", now + "decoder", now + "bias"}, s.activation,
                    layer_norm("", s.hidden, s.epsilon));
  keep_task_heads(model, weights, names);
  return model;
}

}  // namespace swage::model
