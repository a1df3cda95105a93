// Nemotron-H (arXiv:2504.03624) and Nemotron 3: in each layer one thing alone, a state space, attention without
// positions, an MLP without gate, or a mixture of such.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/mixers.h"
#include "swage/model/arch/shared_experts.h"

namespace swage::model {

using namespace graph;

namespace {

// One letter a layer, as hybrid_override_pattern has them: M, *, -, E.
std::string pattern_of(const ConfigFields& config) {
  std::string pattern = config.text_or("hybrid_override_pattern", "");
  const Json* types = config.json().find("layers_block_type");
  if (types != nullptr && types->is_array()) {
    pattern.clear();
    for (const std::string& type : config.texts("layers_block_type", int64_t(types->as_array().size())))
      pattern += type == "linear_attention" || type == "mamba"     ? 'M'
                 : type == "full_attention" || type == "attention" ? '*'
                 : type == "mlp"                                   ? '-'
                 : type == "moe"                                   ? 'E'
                                                                   : '?';
  }
  std::erase(pattern, '|');
  SWAGE_CHECK(!pattern.empty(), CorruptData, "config.json: layers_block_type is missing");
  SWAGE_CHECK(int64_t(pattern.size()) <= kMostLayers && pattern.find_first_not_of("M*-E") == std::string::npos,
              Unsupported, "config.json: hybrid_override_pattern or layers_block_type \"", pattern,
              "\" has layers that are not known");
  return pattern;
}

Mamba2Sizes space_sizes(const ConfigFields& config, double epsilon) {
  Mamba2Sizes s{};
  s.heads = config.size("mamba_num_heads", 65536);
  s.head_size = config.size("mamba_head_dim", 65536);
  SWAGE_CHECK(s.heads * s.head_size <= kLargestSize, CorruptData, "config.json: mamba_num_heads ", s.heads,
              " times mamba_head_dim ", s.head_size, " is too large");
  s.state = config.size("ssm_state_size", 65536);
  s.groups = s.norm_groups = config.size_or("n_groups", 8, s.heads);
  SWAGE_CHECK(s.heads % s.groups == 0, CorruptData, "config.json: mamba_num_heads ", s.heads,
              " is not a multiple of n_groups ", s.groups);
  s.kernel = config.size_or("conv_kernel", 4, 1024);
  s.bias = config.flag_or("use_bias", config.flag_or("mamba_proj_bias", false));
  s.output_bias = s.bias;
  s.conv_bias = config.flag_or("use_conv_bias", true);
  s.activation = config.activation("mamba_hidden_act", "silu");
  s.epsilon = epsilon;
  read_step_limit(config, s);
  return s;
}

Value add_mixture(BlockBuilder& b, Value x, const ConfigFields& config, const SharedExperts& mixture,
                  const checkpoint::WeightSource& weights) {
  static constexpr const char* kNames[3] = {nullptr, "up_proj", "down_proj"};
  const bool biases = config.flag_or("mlp_bias", false);
  b.add(plain_mlp(b, x, "mixer.shared_experts.up_proj", "mixer.shared_experts.down_proj",
                  config.size("moe_shared_expert_intermediate_size"), mixture.activation, biases));
  BlockBuilder::ExpertNames names{"mixer.experts.", kNames};
  if (!weights.shape(b.prefix() + "mixer.experts.up_proj").empty()) {
    names.fused_in = "mixer.experts.up_proj";
    names.fused_out = "mixer.experts.down_proj";
  }
  return b.experts(x, mixture.rules, mixture.inner, names);
}

}  // namespace

ModelProgram describe_nemotron_h(const ConfigFields& config, const checkpoint::WeightSource& weights) {
  const std::string pattern = pattern_of(config);
  Json fields = config.json();
  fields.set("num_hidden_layers", int64_t(pattern.size()));
  if (fields.find("rms_norm_eps") == nullptr)
    fields.set("rms_norm_eps", config.positive_or("layer_norm_epsilon", 1e-5));
  fields.set("hidden_act", config.text_or("mlp_hidden_act", "relu2"));
  const ConfigFields filled(fields);
  const Sizes s = sizes_of(filled);
  ModelProgram model =
      model_around(config, s.hidden, "backbone.embeddings", rms_norm("backbone.norm_f", s.hidden, s.epsilon), false);
  AttentionTraits attention{.module = "mixer"};
  attention.rope.reset();
  const bool biases = config.flag_or("mlp_bias", false), mixes = pattern.find('E') != std::string::npos;
  SharedExperts mixture{};
  if (mixes) {
    SWAGE_CHECK(config.whole_or("moe_latent_size", 0) == 0, Unsupported,
                "config.json: moe_latent_size is not supported: experts that read less than the router does");
    mixture = shared_experts(filled, RouterKind::Sigmoid);
    mixture.rules.router.name = "mixer.gate";
    mixture.rules.router_bias = "mixer.gate.e_score_correction_bias";
  }
  for (size_t layer = 0; layer < pattern.size(); ++layer) {
    BlockBuilder b(cat("backbone.layers.", layer, "."), s.hidden);
    const Value x = b.norm(kStream, rms_norm("norm", s.hidden, s.epsilon));
    if (pattern[layer] == 'M')
      b.add(mamba2_mixer(b, x, "mixer", space_sizes(config, s.epsilon)));
    else if (pattern[layer] == '*')
      b.add(self_attention(b, x, s, attention));
    else if (pattern[layer] == '-')
      b.add(plain_mlp(b, x, "mixer.up_proj", "mixer.down_proj", s.inner, s.activation, biases));
    else
      b.add(add_mixture(b, x, config, mixture, weights));
    model.blocks.push_back(b.finish());
  }
  return model;
}

}  // namespace swage::model
