// GLM 4 of 2024 (glm) and of 2025 (glm4, with norms behind attention and MLP too): half of a head turns, in pairs; one
// linear for gate and up.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

namespace {

ModelProgram describe(const ConfigFields& config, bool norms_behind) {
  const Sizes s = sizes_of(config, {.default_epsilon = 1.5625e-07});
  const auto norm = [&](const char* name) { return rms_norm(name, s.hidden, s.epsilon); };
  ModelProgram model = model_around(config, s.hidden, "model.embed_tokens", norm("model.norm"), false);
  model.ropes = {rope_of(config, s.head_size, 10000, {.partial = 0.5, .interleaved = true})};
  AttentionTraits attention;
  attention.input_biases = config.flag_or("attention_bias", false);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("model.layers.", layer, "."), s.hidden);
    const auto behind = [&](Value x, const char* name) { return norms_behind ? b.norm(x, norm(name)) : x; };
    b.add(
        behind(self_attention(b, b.norm(kStream, norm("input_layernorm")), s, attention), "post_self_attn_layernorm"));
    const Value y = b.norm(kStream, norm("post_attention_layernorm"));
    const std::vector<Value> parts =
        b.split(b.linear(y, Role::GateUp, "mlp.gate_up_proj", 2 * s.inner), {s.inner, s.inner});
    b.add(behind(b.linear(b.gate(parts[0], parts[1], s.activation), Role::Down, "mlp.down_proj", s.hidden),
                 "post_mlp_layernorm"));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace

ModelProgram describe_glm(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe(config, false);
}
ModelProgram describe_glm4(const ConfigFields& config, const checkpoint::WeightSource&) {
  return describe(config, true);
}

}  // namespace swage::model
