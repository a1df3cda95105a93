// BitNet b1.58 (arXiv:2504.12285), its architecture: norms before the output projections of attention and MLP, squared
// ReLU.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_bitnet(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  const auto norm = [&](const char* name, int64_t size) { return rms_norm(name, size, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm", s.hidden), false);
  model.ropes = {rope_of(config, s.head_size, 500000)};
  AttentionTraits attention;
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", false);
  attention.inner_norm = norm("attn_sub_norm", s.heads * s.head_size);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    b.add(self_attention(b, b.norm(kStream, norm("input_layernorm", s.hidden)), s, attention));
    const Value y = b.norm(kStream, norm("post_attention_layernorm", s.hidden));
    const Value gate = b.linear(y, Role::Gate, "mlp.gate_proj", s.inner),
                up = b.linear(y, Role::Up, "mlp.up_proj", s.inner);
    const Value inside = b.norm(b.gate(gate, up, s.activation), norm("mlp.ffn_sub_norm", s.inner));
    b.add(b.linear(inside, Role::Down, "mlp.down_proj", s.hidden));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
