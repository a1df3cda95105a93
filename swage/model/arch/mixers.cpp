#include "swage/model/arch/mixers.h"

#include <cmath>

#include "swage/base/error.h"

namespace swage::model {

using namespace graph;

Value mamba_mixer(BlockBuilder& b, Value x, const std::string& module, const MambaSizes& s) {
  const std::string at = module + ".";
  const std::vector<Value> parts =
      b.split(b.linear(x, Role::Recurrence, at + "in_proj", 2 * s.inner, s.bias), {s.inner, s.inner});
  const Value u = b.convolution(parts[0], {{at + "conv1d", s.inner}}, s.kernel, s.conv_bias, s.activation);
  std::vector<Value> by_token =
      b.split(b.linear(u, Role::Recurrence, at + "x_proj", s.rank + 2 * s.state), {s.rank, s.state, s.state});
  const char* const norms[3] = {"dt_layernorm", "b_layernorm", "c_layernorm"};
  for (size_t i = 0; s.norms != MambaSizes::Norms::None && i < 3; ++i) {
    NormSpec norm = rms_norm(at + norms[i], b.width(by_token[i]), s.epsilon);
    norm.weight = s.norms == MambaSizes::Norms::Weighted;
    by_token[i] = b.norm(by_token[i], norm);
  }
  RecurrenceNode form{};
  // Readers multiply with this weight themselves, which they could not if it were quantized.
  form.gate =
      b.linear(by_token[0],
               {.name = at + "dt_proj", .role = Role::Recurrence, .rows = s.inner, .bias = true, .keeps_float = true});
  form.value = u;
  form.key = by_token[1];
  form.query = by_token[2];
  form.heads = s.inner;
  form.key_heads = 1;
  form.key_size = s.state;
  form.value_size = 1;
  form.rates = at + "A_log";
  form.rates_shape = {s.inner, s.state};
  form.skip = at + "D";
  form.steps_values = true;
  const Value gated = b.gate(parts[1], b.recurrence(std::move(form)), s.activation);
  return b.linear(gated, Role::Output, at + "out_proj", b.width(x), s.bias);
}

void read_step_limit(const ConfigFields& config, Mamba2Sizes& sizes) {
  const Json* limit = config.json().find("time_step_limit");
  if (limit == nullptr || limit->is_null()) return;
  SWAGE_CHECK(limit->is_array() && limit->as_array().size() == 2 && limit->as_array()[0].is_number(), CorruptData,
              "config.json: time_step_limit must be a list of two numbers, not ", limit->dump());
  sizes.least_step = limit->as_array()[0].as_double();
  const Json& most = limit->as_array()[1];  // infinity is written in several ways, and as no number
  try {
    sizes.most_step = most.is_number() && std::isfinite(most.as_double()) ? most.as_double() : 0;
  } catch (const Error&) {
    sizes.most_step = 0;
  }
}

Mamba2Sizes mamba2_sizes(const ConfigFields& config, double epsilon) {
  Mamba2Sizes s{};
  s.heads = config.size("mamba_n_heads", 65536);
  const int64_t hidden = config.size("hidden_size"),
                inner = config.size_or("mamba_d_ssm", config.size_or("mamba_expand", 2, 64) * hidden);
  const Json* head = config.json().find("mamba_d_head");  // "auto" in some
  s.head_size = head != nullptr && head->is_int() ? config.size("mamba_d_head", 65536) : inner / s.heads;
  SWAGE_CHECK(s.heads * s.head_size == inner, CorruptData, "config.json: mamba_n_heads ", s.heads,
              " times mamba_d_head ", s.head_size, " is not ", inner);
  s.state = config.size("mamba_d_state", 65536);
  s.groups = config.size_or("mamba_n_groups", 1, s.heads);
  SWAGE_CHECK(s.heads % s.groups == 0, CorruptData, "config.json: mamba_n_heads ", s.heads,
              " is not a multiple of mamba_n_groups ", s.groups);
  s.kernel = config.size_or("mamba_d_conv", 4, 1024);
  s.bias = s.output_bias = config.flag_or("mamba_proj_bias", false);
  s.conv_bias = config.flag_or("mamba_conv_bias", true);
  s.activation = config.activation("hidden_act", "silu");
  s.epsilon = epsilon;
  read_step_limit(config, s);
  return s;
}

Value mamba2_mixer(BlockBuilder& b, Value x, const std::string& module, const Mamba2Sizes& s) {
  const std::string at = module + ".";
  const int64_t inner = s.heads * s.head_size, keys = s.groups * s.state, mixed = inner + 2 * keys;
  const Value in =
      b.linear(b.scale(x, s.input_scale), Role::Recurrence, at + "in_proj", inner + mixed + s.heads, s.bias);
  const bool scaled = s.scales[1] != 1 || s.scales[2] != 1 || s.scales[3] != 1;
  Value gate = -1, convolved = -1, steps = -1;
  if (scaled) {
    const std::vector<Value> all = b.split(in, {inner, inner, keys, keys, s.heads});
    gate = all[0];
    steps = all[4];
    convolved = b.join({b.scale(all[1], s.scales[1]), b.scale(all[2], s.scales[2]), b.scale(all[3], s.scales[3])}, 1);
  } else {
    const std::vector<Value> all = b.split(in, {inner, mixed, s.heads});
    gate = all[0];
    convolved = all[1];
    steps = all[2];
  }
  convolved = b.convolution(convolved, {{at + "conv1d", mixed}}, s.kernel, s.conv_bias, s.activation);
  const std::vector<Value> parts = b.split(convolved, {inner, keys, keys});
  RecurrenceNode form{};
  form.gate = b.scale(steps, s.scales[4]);
  form.value = parts[0];
  form.key = parts[1];
  form.query = parts[2];
  form.heads = s.heads;
  form.key_heads = s.groups;
  form.key_size = s.state;
  form.value_size = s.head_size;
  form.rates = at + "A_log";
  form.rates_shape = {s.heads};
  form.gate_bias = at + "dt_bias";
  form.skip = at + "D";
  form.least_step = s.least_step;
  form.most_step = s.most_step;
  form.steps_values = true;
  Value out = b.recurrence(std::move(form));
  NormSpec norm = rms_norm(at + "norm", inner / s.norm_groups, s.epsilon);
  norm.heads = s.norm_groups > 1 ? s.norm_groups : 0;
  norm.flat = s.norm_groups > 1;
  if (s.norm == Mamba2Sizes::Norm::BeforeGate) out = b.norm(out, norm);
  out = b.gate(b.scale(gate, s.scales[0]), out, Activation::Silu);
  if (s.norm == Mamba2Sizes::Norm::BehindGate) out = b.norm(out, norm);
  return b.scale(b.linear(out, Role::Output, at + "out_proj", b.width(x), s.output_bias), s.output_scale);
}

DeltaSizes delta_sizes(const ConfigFields& config) {
  DeltaSizes s{};
  s.key_heads = config.size("linear_num_key_heads", 65536);
  s.value_heads = config.size("linear_num_value_heads", 65536);
  s.key_size = config.size("linear_key_head_dim", 65536);
  s.value_size = config.size("linear_value_head_dim", 65536);
  s.kernel = config.size_or("linear_conv_kernel_dim", 4, 1024);
  s.epsilon = config.positive_or("rms_norm_eps", 1e-6);
  s.activation = config.activation("hidden_act", "silu");
  SWAGE_CHECK(s.value_heads % s.key_heads == 0, CorruptData, "config.json: linear_num_value_heads ", s.value_heads,
              " is not a multiple of linear_num_key_heads ", s.key_heads);
  return s;
}

Value delta_rule(BlockBuilder& b, const std::string& module, const DeltaSizes& s, const DeltaParts& parts) {
  const std::string at = module + ".";
  const std::vector<Value> mixed = b.split(parts.mixed, {s.keys(), s.keys(), s.values()});
  RecurrenceNode form{};
  form.query = mixed[0];
  form.key = mixed[1];
  form.value = mixed[2];
  form.gate = parts.gate;
  form.beta = parts.beta;
  form.heads = s.value_heads;
  form.key_heads = s.key_heads;
  form.key_size = s.key_size;
  form.value_size = s.value_size;
  form.rates = at + "A_log";
  form.rates_shape = parts.rates_shape.empty() ? std::vector<int64_t>{s.value_heads} : parts.rates_shape;
  form.gate_bias = at + "dt_bias";
  form.query_scale = 1 / std::sqrt(static_cast<double>(s.key_size));
  form.beta_factor = parts.beta_factor;
  form.delta = form.unit_keys = true;
  const Value normed =
      b.norm(b.recurrence(std::move(form)), rms_norm(at + parts.norm, s.value_size, parts.norm_epsilon));
  return b.gate(parts.output_gate, normed, parts.output_activation);
}

}  // namespace swage::model
