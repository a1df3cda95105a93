// GPT-NeoX and Pythia (Black et al. 2022, arXiv:2204.06745): one linear for queries, keys and values, of each head in
// turn; attention and MLP side by side or one after the other; part of a head turns.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/parts.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_gpt_neox(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Sizes s = sizes_of(config, {.epsilon = "layer_norm_eps", .default_epsilon = 1e-5});
  const auto norm = [&](const char* name) { return layer_norm(name, s.hidden, s.epsilon); };
  ModelProgram model =
      model_around(config, s.hidden, "gpt_neox.embed_in", norm("gpt_neox.final_layer_norm"), false, "embed_out");
  model.ropes = {rope_of(config, s.head_size, 10000,
                         {.partial = 0.25, .theta_key = "rotary_emb_base", .partial_key = "rotary_pct"})};
  AttentionTraits attention{.module = "attention", .names = {"", "", "", "dense"}};
  attention.input_biases = attention.output_bias = config.flag_or("attention_bias", true);
  attention.fused = AttentionTraits::Fused::ByHead;
  attention.fused_name = "query_key_value";
  const bool parallel = config.flag_or("use_parallel_residual", true);
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    BlockBuilder b(cat("gpt_neox.layers.", layer, "."), s.hidden);
    const Value x = b.norm(kStream, norm("input_layernorm"));
    Value y = parallel ? b.norm(kStream, norm("post_attention_layernorm")) : kStream;
    b.add(self_attention(b, x, s, attention));
    if (!parallel) y = b.norm(kStream, norm("post_attention_layernorm"));
    b.add(plain_mlp(b, y, "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", s.inner, s.activation, true));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
