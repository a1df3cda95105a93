// BERT (Devlin et al. 2018, arXiv:1810.04805) and what keeps its layers: RoBERTa (Liu et al. 2019, arXiv:1907.11692)
// and XLM-R, whose positions begin behind the padding token's id; DistilBERT (Sanh et al. 2019, arXiv:1910.01108)
// without token types; ELECTRA (Clark et al. 2020, arXiv:2003.10555) with narrower embeddings, as generator or
// discriminator.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/encoders.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_bert(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes sizes = bert_sizes(config);
  const EncoderNames names =
      encoder_names(config, weights, "bert.", "embeddings.word_embeddings", "embeddings.LayerNorm");
  ModelProgram model = bert_embeddings(config, sizes, names, sizes.hidden, config.size_or("type_vocab_size", 2));
  add_bert_layers(model, sizes, names);
  const std::string head = "cls.predictions.";
  if (has_head(config, weights, names, head + "transform.dense", "ForMaskedLM")) {
    NormSpec norm = layer_norm("", sizes.hidden, sizes.epsilon);
    norm.greek = names.greek;
    add_masked_head(model, config,
                    {head + "transform.dense", head + "transform.LayerNorm", head + "decoder", head + "bias"},
                    sizes.activation, norm);
  }
  keep_task_heads(model, weights, names);
  return model;
}

ModelProgram describe_roberta(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes sizes = bert_sizes(config);
  const EncoderNames names =
      encoder_names(config, weights, "roberta.", "embeddings.word_embeddings", "embeddings.LayerNorm");
  ModelProgram model = bert_embeddings(config, sizes, names, sizes.hidden, config.size_or("type_vocab_size", 2));
  model.unnumbered_token = config.size_or("pad_token_id", 1);
  model.position_offset = model.unnumbered_token + 1;
  SWAGE_CHECK(model.position_offset < model.max_positions, CorruptData, "config.json: pad_token_id ",
              model.unnumbered_token, " leaves none of max_position_embeddings ", model.max_positions);
  model.max_positions -= model.position_offset;
  add_bert_layers(model, sizes, names);
  if (has_head(config, weights, names, "lm_head.dense", "ForMaskedLM"))
    add_masked_head(model, config, {"lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"},
                    Activation::Gelu, layer_norm("", sizes.hidden, sizes.epsilon));
  keep_task_heads(model, weights, names);
  return model;
}

ModelProgram describe_distilbert(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  Sizes sizes{};
  sizes.hidden = config.size("dim");
  sizes.heads = sizes.kv_heads = config.size("n_heads", 65536);
  SWAGE_CHECK(sizes.hidden % sizes.heads == 0, CorruptData, "config.json: dim ", sizes.hidden,
              " is not a multiple of n_heads ", sizes.heads);
  sizes.head_size = sizes.hidden / sizes.heads;
  sizes.inner = config.size("hidden_dim");
  sizes.epsilon = 1e-12;
  sizes.activation = config.activation("activation", "gelu");
  const EncoderNames names =
      encoder_names(config, weights, "distilbert.", "embeddings.word_embeddings", "embeddings.LayerNorm");
  ModelProgram model = bert_embeddings(config, sizes, names, sizes.hidden, 0);
  const int64_t layers = config.size("n_layers", kMostLayers);
  for (int64_t layer = 0; layer < layers; ++layer) {
    BlockBuilder b(cat(names.prefix, "transformer.layer.", layer, "."), sizes.hidden);
    add_encoder_layer(b, sizes,
                      {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention", "attention.out_lin",
                       "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"},
                      names.greek);
    model.blocks.push_back(b.finish());
  }
  if (has_head(config, weights, names, "vocab_transform", "ForMaskedLM"))
    add_masked_head(model, config, {"vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"},
                    sizes.activation, layer_norm("", sizes.hidden, sizes.epsilon));
  keep_task_heads(model, weights, names);
  return model;
}

namespace {

void add_discriminator(ModelProgram& model, const Sizes& sizes) {
  BlockBuilder b("discriminator_predictions.", sizes.hidden);
  LinearSpec dense{"dense", Role::Projection, sizes.hidden, 0, true};
  dense.keeps_float = true;
  b.activate_stream(b.linear(kStream, dense), sizes.activation);
  model.head_transform = b.finish();
  model.head = {"discriminator_predictions.dense_prediction", Role::Head, 1, sizes.hidden, true};
  model.head.keeps_float = true;
  model.predicts = Predicts::Replaced;
}

}  // namespace

ModelProgram describe_electra(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const Sizes sizes = bert_sizes(config);
  const EncoderNames names =
      encoder_names(config, weights, "electra.", "embeddings.word_embeddings", "embeddings.LayerNorm");
  const int64_t width = config.size_or("embedding_size", 128);
  ModelProgram model = bert_embeddings(config, sizes, names, width, config.size_or("type_vocab_size", 2));
  if (width != sizes.hidden) {
    model.project_in = LinearSpec{names.prefix + "embeddings_project", Role::Projection, sizes.hidden, width, true};
    model.project_in->keeps_float = true;
  }
  add_bert_layers(model, sizes, names);
  const std::string generator = "generator_predictions.";
  if (has_head(config, weights, names, generator + "dense", "ForMaskedLM"))
    add_masked_head(model, config,
                    {generator + "dense", generator + "LayerNorm", "generator_lm_head", "generator_lm_head.bias"},
                    Activation::Gelu, layer_norm("", width, sizes.epsilon));
  else if (has_head(config, weights, names, "discriminator_predictions.dense", "ForPreTraining"))
    add_discriminator(model, sizes);
  keep_task_heads(model, weights, names);
  return model;
}

}  // namespace swage::model
