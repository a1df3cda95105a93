// Phi-3, Phi-3.5 and Phi-4 (arXiv:2404.14219): a Llama whose linears for queries, keys and values, and for gate and up,
// are one each; LongRoPE.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/llama_like.h"

namespace swage::model {

using namespace graph;

ModelProgram describe_phi3(const ConfigFields& config, const checkpoint::WeightSource&) {
  const int64_t inner = config.size("intermediate_size"),
                window = config.size_or("sliding_window", 0, int64_t{1} << 40);
  const Activation activation = config.activation("hidden_act", "silu");
  LlamaTraits traits;
  traits.default_epsilon = 1e-5;
  traits.rope_form.partial = 1;
  traits.attention.fused = AttentionTraits::Fused::InTurn;
  traits.window = [window](int64_t) { return window; };
  traits.mlp = [=](BlockBuilder& b, Value x, int64_t) {
    const std::vector<Value> parts = b.split(b.linear(x, Role::GateUp, "mlp.gate_up_proj", 2 * inner), {inner, inner});
    return b.linear(b.gate(parts[0], parts[1], activation), Role::Down, "mlp.down_proj", b.width(kStream));
  };
  return describe_llama_like(config, traits);
}

}  // namespace swage::model
