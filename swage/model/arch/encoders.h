// Parts that encoders share: their names on disk, layers whose norms stand behind, heads that predict masked tokens.
#pragma once
#include <string>
#include <vector>

#include "swage/model/arch/parts.h"

namespace swage::model {

// How a checkpoint calls the parts of an encoder.
struct EncoderNames {
  std::string prefix;  // of the body: "bert." where a head stands beside it, empty where it is all there is
  bool greek = false;  // norms have gamma and beta
  bool known = false;  // there is a checkpoint to look at; else the config's `architectures` tells
};
// `embedding` and `norm`: modules of the body that every checkpoint has.
EncoderNames encoder_names(const ConfigFields& config, const checkpoint::WeightSource& weights,
                           const std::string& prefix, const std::string& embedding, const std::string& norm);
// Whether the model has the head with this module: in the checkpoint or, where there is none, because the class in
// `architectures` ends so.
bool has_head(const ConfigFields& config, const checkpoint::WeightSource& weights, const EncoderNames& names,
              const std::string& module, const std::string& class_end);

// Heads for other tasks and poolers, of which those that the checkpoint has are copied as they are.
void keep_task_heads(graph::ModelProgram& model, const checkpoint::WeightSource& weights, const EncoderNames& names);

// Module names of a masked-LM head: dense layer, norm and the linear of logits, whose bias is the tensor `bias`.
struct MaskedHead {
  std::string dense, norm, head, bias;
  bool dense_bias = true;
};
// logits = head(norm(activation(dense(last hidden state)))), as wide inside as the embedding; tied to it unless the
// config says otherwise.
void add_masked_head(graph::ModelProgram& model, const ConfigFields& config, const MaskedHead& names,
                     graph::Activation activation, graph::NormSpec norm);

// Embeddings of BERT's line: words, positions and, if `types` > 0, token types, under "embeddings.", summed and normed.
// `width`: of the embeddings.
graph::ModelProgram bert_embeddings(const ConfigFields& config, const Sizes& sizes, const EncoderNames& names,
                                    int64_t width, int64_t types);
// hidden_size and its like, LayerNorm's epsilon, GELU; refuses what BERT's line does not run.
Sizes bert_sizes(const ConfigFields& config);

// Names in a layer of BERT's line.
struct EncoderLayerNames {
  const char *query = "attention.self.query", *key = "attention.self.key", *value = "attention.self.value";
  const char *attention = "attention.self", *output = "attention.output.dense";
  const char* attention_norm = "attention.output.LayerNorm";
  const char *up = "intermediate.dense", *down = "output.dense", *norm = "output.LayerNorm";
};
// Attention and MLP with biases, each with its norm behind it. `form`: of the attention, without its sizes; given the
// linears of queries and keys.
using AttentionOf = std::function<graph::AttentionNode(int query, int key)>;
void add_encoder_layer(
    graph::BlockBuilder& b, const Sizes& sizes, const EncoderLayerNames& names, bool greek,
    const AttentionOf& form = [](int, int) { return graph::AttentionNode{}; });
// Layers "encoder.layer.N." of BERT.
void add_bert_layers(graph::ModelProgram& model, const Sizes& sizes, const EncoderNames& names);

}  // namespace swage::model
