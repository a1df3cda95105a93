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
  const Json* scaling = config.json().find("rope_parameters");
  if (scaling == nullptr || scaling->is_null()) scaling = config.json().find("rope_scaling");
  if (rope.kind == RopeKind::Default || scaling == nullptr) return 1;
  const double all = scaling->get_double("mscale_all_dim", 0);
  if (all == 0 || rope.factor <= 1) return 1;
  const double factor = 0.1 * all * std::log(rope.factor) + 1;
  return factor * factor;
}

Value latent_attention(BlockBuilder& b, Value x, const LatentSizes& d) {
  const std::string at = "self_attn.";
  Value latent_query = -1, query = -1;
  if (d.query_rank > 0)
    latent_query = b.linear(x, Role::Latent, at + "q_a_proj", d.query_rank, d.biases);
  else
    query = b.linear(x, Role::Query, at + "q_proj", d.heads * (d.nope + d.rope));
  const std::vector<Value> latent = b.split(
      b.linear(x, Role::Latent, at + "kv_a_proj_with_mqa", d.latent_rank + d.rope, d.biases), {d.latent_rank, d.rope});
  const Value key_rope = b.rope(latent[1], 1, 0);  // one for all heads
  if (d.query_rank > 0) {
    query = b.linear(b.norm(latent_query, rms_norm(at + "q_a_layernorm", d.query_rank, d.epsilon)), Role::Query,
                     at + "q_b_proj", d.heads * (d.nope + d.rope));
  }
  query = b.rope(query, d.heads, 0, d.nope);
  const Value normed = b.norm(latent[0], rms_norm(at + "kv_a_layernorm", d.latent_rank, d.epsilon));
  const std::vector<Value> parts = b.split(
      b.linear(normed, Role::KeyValue, at + "kv_b_proj", d.heads * (d.nope + d.value)), {d.nope, d.value}, d.heads);
  AttentionNode form{};
  form.heads = form.kv_heads = d.heads;
  form.head_size = d.nope + d.rope;
  form.value_size = d.value;
  form.scale = d.scale;
  const Value mixed = b.attention(query, b.join({parts[0], key_rope}, d.heads, true), parts[1], "self_attn", form);
  return b.linear(mixed, Role::Output, at + "o_proj", d.hidden, d.biases);
}

}  // namespace swage::model
