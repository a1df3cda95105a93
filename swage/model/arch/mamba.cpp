// Mamba (arXiv:2312.00752), Falcon Mamba (arXiv:2410.05355) and Mamba 2 (arXiv:2405.21060): a norm and a state space in
// each layer, and nothing else.
#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/mixers.h"

namespace swage::model {

using namespace graph;

namespace {

using Mixer = std::function<Value(BlockBuilder& b, Value x)>;

ModelProgram describe(const ConfigFields& config, bool tied, const Mixer& mixer) {
  const int64_t hidden = config.size("hidden_size"), layers = config.size("num_hidden_layers", kMostLayers);
  const double epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  ModelProgram model =
      model_around(config, hidden, "backbone.embeddings", rms_norm("backbone.norm_f", hidden, epsilon), tied);
  for (int64_t layer = 0; layer < layers; ++layer) {
    BlockBuilder b(cat("backbone.layers.", layer, "."), hidden);
    b.add(mixer(b, b.norm(kStream, rms_norm("norm", hidden, epsilon))));
    model.blocks.push_back(b.finish());
  }
  return model;
}

MambaSizes mamba_sizes(const ConfigFields& config) {
  const int64_t hidden = config.size("hidden_size");
  const Json* rank = config.json().find("time_step_rank");  // "auto" in some
  MambaSizes s{};
  s.inner = config.size_or("intermediate_size", config.size_or("expand", 2, 64) * hidden);
  s.state = config.size_or("state_size", 16, 65536);
  s.kernel = config.size_or("conv_kernel", 4, 1024);
  s.rank = rank != nullptr && rank->is_int() ? config.size("time_step_rank") : (hidden + 15) / 16;
  s.bias = config.flag_or("use_bias", false);
  s.conv_bias = config.flag_or("use_conv_bias", true);
  s.activation = config.activation("hidden_act", "silu");
  return s;
}

}  // namespace

ModelProgram describe_mamba(const ConfigFields& config, const checkpoint::WeightSource&) {
  const MambaSizes s = mamba_sizes(config);
  return describe(config, true, [s](BlockBuilder& b, Value x) { return mamba_mixer(b, x, "mixer", s); });
}

// Norms without weights of what the state is made and read with.
ModelProgram describe_falcon_mamba(const ConfigFields& config, const checkpoint::WeightSource&) {
  MambaSizes s = mamba_sizes(config);
  s.norms = MambaSizes::Norms::Weightless;
  s.epsilon = config.positive_or("mixer_rms_eps", 1e-6);
  return describe(config, true, [s](BlockBuilder& b, Value x) { return mamba_mixer(b, x, "mixer", s); });
}

ModelProgram describe_mamba2(const ConfigFields& config, const checkpoint::WeightSource&) {
  const int64_t hidden = config.size("hidden_size");
  Mamba2Sizes s{};
  s.heads = config.size("num_heads", 65536);
  s.head_size = config.size("head_dim", 65536);
  SWAGE_CHECK(s.heads * s.head_size == config.size_or("expand", 2, 64) * hidden, CorruptData, "config.json: num_heads ",
              s.heads, " times head_dim ", s.head_size, " is not expand times hidden_size ", hidden);
  s.state = config.size_or("state_size", 128, 65536);
  s.groups = config.size_or("n_groups", 8, s.heads);
  SWAGE_CHECK(s.heads % s.groups == 0, CorruptData, "config.json: num_heads ", s.heads,
              " is not a multiple of n_groups ", s.groups);
  s.kernel = config.size_or("conv_kernel", 4, 1024);
  s.bias = s.output_bias = config.flag_or("use_bias", false);
  s.conv_bias = config.flag_or("use_conv_bias", true);
  s.activation = config.activation("hidden_act", "silu");
  s.epsilon = config.positive_or("layer_norm_epsilon", 1e-5);
  read_step_limit(config, s);
  return describe(config, false, [s](BlockBuilder& b, Value x) { return mamba2_mixer(b, x, "mixer", s); });
}

}  // namespace swage::model
