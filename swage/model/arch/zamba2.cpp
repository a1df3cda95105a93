// Zamba 2 (arXiv:2411.15242): layers of state spaces; in front of some stands one of a few transformer blocks that
// these layers share, on the hidden state beside the embedding, with low-rank adapters of each layer's own. The stream
// is [hidden state, embedding].
#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/mixers.h"

namespace swage::model {

using namespace graph;

namespace {

struct Zamba2 {
  int64_t hidden, heads, kv_heads, inner, rank, shared;
  double epsilon;
  bool adapters, ropes;
  Activation activation;
  Mamba2Sizes mamba;
  std::vector<int64_t> hybrids;  // layers with a transformer block in front
};

Mamba2Sizes mamba_of(const ConfigFields& config) {
  Json fields = config.renamed({{"n_mamba_heads", "mamba_n_heads"},
                                {"mamba_headdim", "mamba_d_head"},
                                {"mamba_ngroups", "mamba_n_groups"},
                                {"add_bias_linear", "mamba_proj_bias"}});
  fields.set("hidden_act", "silu");
  Mamba2Sizes out = mamba2_sizes(ConfigFields(fields), 1e-5);
  out.least_step = config.positive_or("time_step_min", 0.001);
  out.norm_groups = out.groups;
  return out;
}

Zamba2 sizes_of_zamba2(const ConfigFields& config) {
  Zamba2 z{};
  const Sizes s = sizes_of(config, {.default_epsilon = 1e-5});
  z.hidden = s.hidden;
  z.heads = s.heads;
  z.kv_heads = s.kv_heads;
  z.inner = s.inner;
  z.epsilon = s.epsilon;
  z.activation = config.activation("hidden_act", "gelu");
  z.rank = config.size_or("adapter_rank", 128);
  z.shared = config.size_or("num_mem_blocks", 1, 64);
  SWAGE_CHECK(!config.flag_or("add_bias_linear", false), Unsupported,
              "config.json: add_bias_linear: biases of blocks that layers share are not known");
  z.adapters = config.flag_or("use_shared_attention_adapter", false);
  z.ropes = config.flag_or("use_mem_rope", false);
  z.mamba = mamba_of(config);
  SWAGE_CHECK(2 * z.hidden % z.heads == 0, CorruptData, "config.json: twice hidden_size ", z.hidden,
              " is not a multiple of num_attention_heads ", z.heads);
  SWAGE_CHECK(!config.flag_or("use_long_context", false), Unsupported,
              "config.json: use_long_context: the rotary embedding of long contexts is not known");
  const std::vector<std::string> types =
      config.texts(config.json().find("layer_types") != nullptr ? "layer_types" : "layers_block_type", s.layers);
  SWAGE_CHECK(!types.empty(), CorruptData, "config.json: layers_block_type is missing");
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    if (types[size_t(layer)] == "hybrid") z.hybrids.push_back(layer);
  }
  return z;
}

// The transformer block in front of hybrid layer number `turn`, whose tensors are those of the first layer that has it.
class SharedBlock {
 public:
  SharedBlock(BlockBuilder& b, const Zamba2& z, size_t turn) : b_(b), z_(z), turn_(turn) {
    const int64_t first = z.hybrids[turn % size_t(z.shared)];
    owner_ = cat("model.layers.", first, ".shared_transformer.");
  }

  const std::string& owner() const { return owner_; }

  Value describe() {
    const int64_t both = 2 * z_.hidden, head = both / z_.heads;
    const Value x = b_.norm(kStream, norm("input_layernorm", both));
    Value query = projection(x, Role::Query, "q", z_.heads * head),
          key = projection(x, Role::Key, "k", z_.kv_heads * head);
    const Value value = projection(x, Role::Value, "v", z_.kv_heads * head);
    if (z_.ropes) {
      query = b_.rope(query, z_.heads, 0);
      key = b_.rope(key, z_.kv_heads, 0);
    }
    AttentionNode form{};
    form.heads = z_.heads;
    form.kv_heads = z_.kv_heads;
    form.head_size = form.value_size = head;
    form.scale = 1 / std::sqrt(static_cast<double>(head) / 2);
    const Value mixed = linear(b_.attention(query, key, value, "shared_transformer.self_attn", form), Role::Output,
                               "self_attn.o_proj", z_.hidden);
    const Value y = b_.norm(mixed, norm("pre_ff_layernorm", z_.hidden));
    const Value gate_up = b_.sum({linear(y, Role::GateUp, "feed_forward.gate_up_proj", 2 * z_.inner),
                                  adapter(y, "feed_forward.gate_up_proj_adapter_list", 2 * z_.inner)});
    const std::vector<Value> halves = b_.split(gate_up, {z_.inner, z_.inner});
    return linear(b_.gate(halves[0], halves[1], z_.activation), Role::Down, "feed_forward.down_proj", z_.hidden);
  }

 private:
  NormSpec norm(const std::string& name, int64_t size) const {
    return rms_norm("shared_transformer." + name, size, z_.epsilon);
  }

  // It stays as it is: no layer alone has all of its inputs.
  Value linear(Value x, Role role, const std::string& name, int64_t rows) {
    LinearSpec spec{
        .name = "shared_transformer." + name, .role = role, .rows = rows, .keeps_float = true, .common = true};
    if (owner_ != b_.prefix() + "shared_transformer.")
      spec.stored = {.tensor = owner_ + name + ".weight", .shape = {rows, b_.width(x)}};
    return b_.linear(x, std::move(spec));
  }

  Value adapter(Value x, const std::string& list, int64_t rows) {
    const std::string one = cat(list, ".", turn_, ".");
    return linear(linear(x, Role::Other, one + "0", z_.rank), Role::Other, one + "1", rows);
  }

  Value projection(Value x, Role role, const char* which, int64_t rows) {
    const Value own = linear(x, role, cat("self_attn.", which, "_proj"), rows);
    return z_.adapters ? b_.sum({own, adapter(x, cat("self_attn.linear_", which, "_adapter_list"), rows)}) : own;
  }

  BlockBuilder& b_;
  const Zamba2& z_;
  size_t turn_;
  std::string owner_;
};

BlockProgram describe_layer(const Zamba2& z, int64_t layer) {
  BlockBuilder b(cat("model.layers.", layer, "."), 2 * z.hidden);
  Value in = b.slice(kStream, 0, z.hidden);
  const auto turn = std::find(z.hybrids.begin(), z.hybrids.end(), layer);
  const bool hybrid = turn != z.hybrids.end();
  const std::string at = hybrid ? "mamba_decoder." : "", own = b.prefix() + "shared_transformer.";
  std::string owner;
  if (hybrid) {
    SharedBlock block(b, z, size_t(turn - z.hybrids.begin()));
    owner = block.owner();
    in = b.sum({in, b.linear(block.describe(), Role::Projection, "linear", z.hidden)});
  }
  const Value x = b.norm(in, rms_norm(at + "input_layernorm", z.hidden, z.epsilon));
  b.add(mamba2_mixer(b, x, at + "mamba", z.mamba));
  BlockProgram out = b.finish();
  for (Node& node : out.nodes) {
    auto* norm = std::get_if<NormNode>(&node);
    if (norm != nullptr && norm->norm.name.starts_with(own)) norm->norm.name.replace(0, own.size(), owner);
  }
  return out;
}

}  // namespace

ModelProgram describe_zamba2(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Zamba2 z = sizes_of_zamba2(config);
  ModelProgram model = model_around(config, z.hidden, "model.embed_tokens",
                                    rms_norm("model.final_layernorm", z.hidden, z.epsilon), true);
  if (z.ropes) model.ropes = {rope_of(config, 2 * z.hidden / z.heads, 10000)};
  model.stream_width = 2 * z.hidden;
  BlockBuilder prologue("model.", model.stream_width);
  prologue.write(prologue.slice(kStream, 0, z.hidden), z.hidden);
  model.prologue = prologue.finish();
  for (int64_t layer = 0; layer < config.size("num_hidden_layers"); ++layer)
    model.blocks.push_back(describe_layer(z, layer));
  return model;
}

}  // namespace swage::model
