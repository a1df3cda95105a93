#include "swage/model/arch/encoders.h"

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"

namespace swage::model {

using namespace graph;

namespace {

std::string class_of(const ConfigFields& config) {
  const Json* list = config.json().find("architectures");
  if (list == nullptr || !list->is_array() || list->as_array().empty() || !list->as_array()[0].is_string()) return {};
  return list->as_array()[0].as_string();
}

NormSpec norm_behind(const std::string& name, const Sizes& sizes, bool greek) {
  NormSpec norm = layer_norm(name, sizes.hidden, sizes.epsilon);
  norm.greek = greek;
  return norm;
}

}  // namespace

EncoderNames encoder_names(const ConfigFields& config, const checkpoint::WeightSource& weights,
                           const std::string& prefix, const std::string& embedding, const std::string& norm) {
  const auto has = [&](const std::string& name) { return !weights.shape(name).empty(); };
  const bool with = has(prefix + embedding + ".weight"), without = has(embedding + ".weight");
  const bool bare = without || (!with && class_of(config).ends_with("Model"));
  EncoderNames out{bare ? std::string() : prefix, false, with || without};
  out.greek = has(out.prefix + norm + ".gamma");
  return out;
}

bool has_head(const ConfigFields& config, const checkpoint::WeightSource& weights, const EncoderNames& names,
              const std::string& module, const std::string& class_end) {
  return names.known ? !weights.shape(module + ".weight").empty() : class_of(config).ends_with(class_end);
}

void keep_task_heads(ModelProgram& model, const checkpoint::WeightSource& weights, const EncoderNames& names) {
  for (const std::string& module :
       {names.prefix + "pooler.dense", std::string("pooler.dense"), std::string("cls.seq_relationship"),
        std::string("classifier"), std::string("classifier.dense"), std::string("classifier.out_proj"),
        std::string("pre_classifier"), std::string("qa_outputs")}) {
    const std::vector<int64_t> shape = weights.shape(module + ".weight");
    const bool known =
        std::find(model.side_modules.begin(), model.side_modules.end(), module + ".") != model.side_modules.end();
    if (shape.size() != 2 || known) continue;
    model.side_modules.push_back(module + ".");
    model.side_parameters += shape[0] * (shape[1] + 1);
  }
}

void add_masked_head(ModelProgram& model, const ConfigFields& config, const MaskedHead& names, Activation activation,
                     NormSpec norm) {
  BlockBuilder b("", model.hidden_size);
  norm.name = names.norm;
  norm.size = model.embedding.columns;
  LinearSpec dense{names.dense, Role::Projection, norm.size, 0, names.dense_bias};
  dense.keeps_float = true;
  b.norm_stream(norm, b.activate(b.linear(kStream, dense), activation));
  model.head_transform = b.finish();
  model.head = {names.head, Role::Head, model.embedding.rows, norm.size};
  model.head.keeps_float = true;
  if (!names.bias.empty()) model.head.stored_bias = {.tensor = names.bias, .shape = {model.head.rows}};
  model.tied_embeddings = config.flag_or("tie_word_embeddings", true);
  model.predicts = Predicts::Masked;
}

ModelProgram bert_embeddings(const ConfigFields& config, const Sizes& sizes, const EncoderNames& names, int64_t width,
                             int64_t types) {
  const std::string prefix = names.prefix + "embeddings.";
  ModelProgram model;
  model.predicts = Predicts::Nothing;
  model.hidden_size = sizes.hidden;
  model.max_positions = config.size("max_position_embeddings");
  model.embedding = {prefix + "word_embeddings", config.size("vocab_size"), width};
  model.positions = EmbeddingSpec{prefix + "position_embeddings", model.max_positions, width};
  if (types > 0) model.token_types = EmbeddingSpec{prefix + "token_type_embeddings", types, width};
  model.positions_first = true;
  model.embedding_norm = layer_norm(prefix + "LayerNorm", width, sizes.epsilon);
  model.embedding_norm->greek = names.greek;
  return model;
}

Sizes bert_sizes(const ConfigFields& config) {
  SWAGE_CHECK(!config.flag_or("is_decoder", false) && !config.flag_or("add_cross_attention", false), Unsupported,
              "config.json: is_decoder true is not supported: this family runs as an encoder");
  const std::string positions = config.text_or("position_embedding_type", "absolute");
  SWAGE_CHECK(positions == "absolute", Unsupported, "config.json: position_embedding_type \"", positions,
              "\" is not supported, only absolute");
  Sizes sizes =
      sizes_of(config, {.epsilon = "layer_norm_eps", .kv_heads = "num_attention_heads", .default_epsilon = 1e-12});
  sizes.activation = config.activation("hidden_act", "gelu");
  return sizes;
}

void add_encoder_layer(BlockBuilder& b, const Sizes& s, const EncoderLayerNames& names, bool greek,
                       const AttentionOf& form_of) {
  const int64_t width = s.heads * s.head_size;
  const Value query = b.linear(kStream, Role::Query, names.query, width, true),
              key = b.linear(kStream, Role::Key, names.key, width, true),
              value = b.linear(kStream, Role::Value, names.value, width, true);
  AttentionNode form = form_of(b.linear_of(query), b.linear_of(key));
  form.heads = form.kv_heads = s.heads;
  form.head_size = form.value_size = s.head_size;
  if (!form.disentangled) form.scale = 1 / std::sqrt(double(s.head_size));
  form.causal = false;
  b.add(b.linear(b.attention(query, key, value, names.attention, form), Role::Output, names.output, s.hidden, true));
  b.norm_stream(norm_behind(names.attention_norm, s, greek));
  b.add(plain_mlp(b, kStream, names.up, names.down, s.inner, s.activation, true));
  b.norm_stream(norm_behind(names.norm, s, greek));
}

void add_bert_layers(ModelProgram& model, const Sizes& sizes, const EncoderNames& names) {
  for (int64_t layer = 0; layer < sizes.layers; ++layer) {
    BlockBuilder b(cat(names.prefix, "encoder.layer.", layer, "."), sizes.hidden);
    add_encoder_layer(b, sizes, {}, names.greek);
    model.blocks.push_back(b.finish());
  }
}

}  // namespace swage::model
