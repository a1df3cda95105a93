#include "swage/model/arch/latent_attention.h"

#include <algorithm>
#include <cmath>

#include "swage/base/error.h"

namespace swage::model {

using namespace graph;

LatentSizes latent_sizes(const ConfigFields& config) {
  LatentSizes out{};
  out.hidden = config.size("hidden_size");
  out.heads = config.size("num_attention_heads", 65536);
  out.query_rank = config.size_or("q_lora_rank", 0);
  out.latent_rank = config.size("kv_lora_rank");
  out.nope = config.size("qk_nope_head_dim", 65536);
  out.rope = config.size("qk_rope_head_dim", 65536);
  out.value = config.size("v_head_dim", 65536);
  out.epsilon = config.positive_or("rms_norm_eps", 1e-6);
  out.biases = config.flag_or("attention_bias", false);
  out.scale = 1 / std::sqrt(static_cast<double>(out.nope + out.rope));
  const int64_t head = std::max(out.nope, out.value) + out.rope;
  SWAGE_CHECK(out.heads * head <= kLargestSize, CorruptData, "config.json: num_attention_heads ", out.heads,
              " of up to ", head, " numbers each are too large");
  return out;
}

double scale_of_yarn(const ConfigFields& config, const RopeSpec& rope) {
  const Json* scaling = rope_fields(config);
  if (rope.kind == RopeKind::Default || scaling == nullptr) return 1;
  const double all = scaling->get_double("mscale_all_dim", 0);
  if (all == 0 || rope.factor <= 1) return 1;
  const double factor = 0.1 * all * std::log(rope.factor) + 1;
  return factor * factor;
}

void read_index(const ConfigFields& config, LatentSizes& out) {
  SWAGE_CHECK(out.query_rank > 0, Unsupported,
              "config.json: an index (index_topk) without q_lora_rank is not supported");
  out.index_count = config.size("index_topk");
  out.index_heads = config.size("index_n_heads", 65536);
  out.index_size = config.size("index_head_dim", 65536);
  SWAGE_CHECK(out.index_size >= out.rope && out.index_heads * out.index_size <= kLargestSize, CorruptData,
              "config.json: index_head_dim ", out.index_size, " of ", out.index_heads,
              " heads is less than qk_rope_head_dim ", out.rope, " or too large");
}

namespace {

// Its scores are scaled as those of attention, and by the number of its heads.
void add_index(BlockBuilder& b, Value x, Value narrow_query, const LatentSizes& d, AttentionNode& form) {
  const std::string at = "self_attn.indexer.";
  const Value query = b.linear(narrow_query, Role::Other, at + "wq_b", d.index_heads * d.index_size);
  const Value key =
      b.norm(b.linear(x, Role::Other, at + "wk", d.index_size), layer_norm(at + "k_norm", d.index_size, 1e-6));
  const Value weights =
      b.linear(x, {.name = at + "weights_proj", .role = Role::Other, .rows = d.index_heads, .keeps_float = true});
  form.index_query = b.rope(query, d.index_heads, d.index_table);
  form.index_key = b.rope(key, 1, d.index_table);
  form.index_weights = b.scale(weights, 1 / std::sqrt(double(d.index_heads) * double(d.index_size)));
  form.index_heads = d.index_heads;
  form.index_count = d.index_count;
}

}  // namespace

Value latent_attention(BlockBuilder& b, Value x, const LatentSizes& d) {
  const std::string at = "self_attn.";
  Value latent_query = -1, query = -1, narrow = x;
  if (d.query_rank > 0)
    latent_query = b.linear(x, Role::Latent, at + "q_a_proj", d.query_rank, d.biases);
  else
    query = b.linear(x, Role::Query, at + "q_proj", d.heads * (d.nope + d.rope));
  const std::vector<Value> latent = b.split(
      b.linear(x, Role::Latent, at + "kv_a_proj_with_mqa", d.latent_rank + d.rope, d.biases), {d.latent_rank, d.rope});
  const Value key_rope = d.turns ? b.rope(latent[1], 1, 0) : latent[1];  // one for all heads
  if (d.query_rank > 0) {
    narrow = b.norm(latent_query, rms_norm(at + "q_a_layernorm", d.query_rank, d.epsilon));
    query = b.linear(narrow, Role::Query, at + "q_b_proj", d.heads * (d.nope + d.rope));
  }
  if (d.turns) query = b.rope(query, d.heads, 0, d.nope);
  if (const auto& growth = d.query_growth)
    query = b.position_scale(query, growth->scale, growth->offset, growth->period);
  const Value normed = b.norm(latent[0], rms_norm(at + "kv_a_layernorm", d.latent_rank, d.epsilon));
  const std::vector<Value> parts = b.split(
      b.linear(normed, Role::KeyValue, at + "kv_b_proj", d.heads * (d.nope + d.value)), {d.nope, d.value}, d.heads);
  AttentionNode form{};
  if (d.index_count > 0) add_index(b, x, narrow, d, form);
  form.heads = form.kv_heads = d.heads;
  form.head_size = d.nope + d.rope;
  form.value_size = d.value;
  form.scale = d.scale;
  const Value mixed = b.attention(query, b.join({parts[0], key_rope}, d.heads, true), parts[1], "self_attn", form);
  return b.linear(mixed, Role::Output, at + "o_proj", d.hidden, d.biases);
}

}  // namespace swage::model
