#include "swage/model/recurrence.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "swage/model/mlp.h"
#include "swage/model/norm.h"
#include "swage/ops/rows.h"

namespace swage::model {

using graph::ConvolutionNode, graph::RecurrenceNode;

namespace {

// Each number by itself, with functions that give the same wherever it lies: ATen's differ in a vector's last lanes.
template <class F>
at::Tensor each(at::Tensor x, const F& of) {
  float* data = x.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), 1 << 14, [&](int64_t first, int64_t end) {
    for (int64_t i = first; i < end; ++i) data[i] = of(data[i]);
  });
  return x;
}

float sigmoid(float x) { return 1.f / (1.f + std::exp(-x)); }

}  // namespace

Convolution load_convolution(const ConvolutionNode& node, const checkpoint::WeightSource& weights) {
  std::vector<at::Tensor> kernels, biases;
  for (const ConvolutionNode::Part& part : node.parts) {
    kernels.push_back(load_shaped(weights, part.name + ".weight", {part.channels, 1, node.kernel}).squeeze(1));
    if (node.bias) biases.push_back(load_shaped(weights, part.name + ".bias", {part.channels}));
  }
  return {at::cat(kernels), node.bias ? at::cat(biases) : at::Tensor()};
}

at::Tensor convolve(const Convolution& convolution, const ConvolutionNode& node, const at::Tensor& x_TC,
                    at::Tensor& past_PC) {
  const int64_t tokens = x_TC.size(0), before = node.kernel - 1;
  if (!past_PC.defined()) past_PC = at::zeros({before, x_TC.size(1)}, x_TC.options());
  const at::Tensor seen_SC = at::cat({past_PC, x_TC});
  at::Tensor out_TC = convolution.bias_C.defined() ? convolution.bias_C.expand_as(x_TC).clone() : at::zeros_like(x_TC);
  for (int64_t j = 0; j < node.kernel; ++j)
    out_TC.addcmul_(seen_SC.narrow(0, j, tokens), convolution.weight_CJ.select(1, j));
  if (node.activation == graph::Activation::Silu)
    ops::silu_each_(out_TC);
  else
    activate_(out_TC, node.activation);
  past_PC = seen_SC.narrow(0, tokens, before).clone();
  return out_TC;
}

Recurrence load_recurrence(const RecurrenceNode& node, int64_t gate_width, const checkpoint::WeightSource& weights) {
  Recurrence out;
  if (node.rates.empty()) {
    out.rates = at::tensor(node.fixed_rates, at::kDouble).to(at::kFloat);
  } else {
    int64_t count = 1;
    for (const int64_t size : node.rates_shape) count *= size;
    out.rates = load_shaped(weights, node.rates, node.rates_shape).cpu().exp();
    out.rates = count == node.heads ? out.rates.reshape({node.heads}) : out.rates.reshape({node.heads, node.key_size});
  }
  if (!node.gate_bias.empty()) out.gate_bias = load_shaped(weights, node.gate_bias, {gate_width});
  if (!node.skip.empty()) out.skip_H = load_shaped(weights, node.skip, {node.heads}).cpu().contiguous();
  return out;
}

namespace {

// [T, H] or [T, H K].
at::Tensor steps_of(const Recurrence& recurrence, const RecurrenceNode& node, const at::Tensor& gate) {
  const at::Tensor steps = recurrence.gate_bias.defined() ? gate.add(recurrence.gate_bias.cpu()) : gate.clone();
  const float most = node.most_step > 0 ? float(node.most_step) : std::numeric_limits<float>::infinity();
  return each(steps, [&](float x) {
    constexpr float kLinear = 20;  // beyond it softplus(x) is x in f32
    return std::clamp(x > kLinear ? x : std::log1p(std::exp(x)), float(node.least_step), most);
  });
}

at::Tensor of_unit_length(const at::Tensor& x_TC, int64_t size) {
  at::Tensor out = x_TC.clone();
  float* data = out.mutable_data_ptr<float>();
  constexpr float kEpsilon = 1e-6f;  // of all that divide so
  for (int64_t run = 0; run < out.numel() / size; ++run) {
    float sum = 0;
    for (int64_t i = 0; i < size; ++i) sum += data[run * size + i] * data[run * size + i];
    const float factor = 1.f / std::sqrt(sum + kEpsilon);
    for (int64_t i = 0; i < size; ++i) data[run * size + i] *= factor;
  }
  return out;
}

// One head's numbers of every token; strides in numbers from one token to the next.
struct HeadData {
  const float *query, *key, *value, *step, *beta, *rate;
  int64_t key_stride, value_stride, step_stride, beta_stride, steps_a_token;  // 1, or one for each number of a key
  bool one_rate;
  float skip;
  float* out;
  float* state;
};

void fill_decay(const HeadData& head, const float* step, int64_t size, float* decay) {
  for (int64_t k = 0; k < size; ++k) {
    const float rate = head.rate[head.one_rate ? 0 : k];
    decay[k] = step == nullptr ? std::exp(-rate) : std::exp(-rate * step[head.steps_a_token == 1 ? 0 : k]);
    if (head.one_rate && head.steps_a_token == 1) {
      std::fill(decay + 1, decay + size, decay[0]);
      return;
    }
  }
}

// u: what is written. Scratch: decay [K], u [V].
void run_head(const HeadData& head, const RecurrenceNode& node, int64_t tokens, float* decay, float* u) {
  const int64_t K = node.key_size, V = node.value_size;
  for (int64_t t = 0; t < tokens; ++t) {
    const float *key = head.key + t * head.key_stride, *query = head.query + t * head.key_stride,
                *value = head.value + t * head.value_stride,
                *step = head.step == nullptr ? nullptr : head.step + t * head.step_stride;
    float* out = head.out + t * head.value_stride;
    fill_decay(head, step, K, decay);
    std::fill(u, u + V, 0.f);
    for (int64_t k = 0; k < K; ++k) {
      float* row = head.state + k * V;
      for (int64_t v = 0; v < V; ++v) row[v] *= decay[k];
      if (!node.delta) continue;
      for (int64_t v = 0; v < V; ++v) u[v] += key[k] * row[v];
    }
    const float beta = head.beta == nullptr ? 1.f : head.beta[t * head.beta_stride];
    const float factor = node.delta ? beta : node.steps_values ? *step : 1.f;
    for (int64_t v = 0; v < V; ++v) {
      u[v] = (value[v] - u[v]) * factor;
      out[v] = head.skip * value[v];
    }
    for (int64_t k = 0; k < K; ++k) {
      float* row = head.state + k * V;
      for (int64_t v = 0; v < V; ++v) row[v] += key[k] * u[v];
      for (int64_t v = 0; v < V; ++v) out[v] += query[k] * row[v];
    }
  }
}

}  // namespace

at::Tensor recur(const Recurrence& recurrence, const RecurrenceNode& node, const RecurrenceInput& input,
                 at::Tensor& state_HKV) {
  const auto ready = [](const at::Tensor& x) { return x.defined() ? x.to(at::kCPU, at::kFloat).contiguous() : x; };
  at::Tensor query = ready(input.query), key = ready(input.key);
  const at::Tensor value = ready(input.value);
  if (node.unit_keys) query = of_unit_length(query, node.key_size), key = of_unit_length(key, node.key_size);
  if (node.query_scale != 1) query = query.mul(node.query_scale);
  const at::Tensor steps = input.gate.defined() ? steps_of(recurrence, node, ready(input.gate)) : at::Tensor();
  const at::Tensor beta = input.beta.defined() ? each(ready(input.beta).clone(),
                                                      [&](float x) { return sigmoid(x) * float(node.beta_factor); })
                                               : at::Tensor();
  const int64_t tokens = value.size(0), heads = node.heads, repeats = heads / node.key_heads, K = node.key_size,
                V = node.value_size;
  at::Tensor out = at::empty({tokens, heads * V}, value.options());
  at::Tensor state = state_HKV.defined() ? state_HKV.clone() : at::zeros({heads, K, V}, value.options());
  const auto data = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr<float>() : nullptr; };
  const float *q = data(query), *k = data(key), *v = data(value), *step = data(steps), *b = data(beta),
              *rate = data(recurrence.rates), *skip = data(recurrence.skip_H);
  float *made = out.mutable_data_ptr<float>(), *kept = state.mutable_data_ptr<float>();
  const bool one_rate = recurrence.rates.dim() == 1;
  const int64_t wide = steps.defined() ? steps.size(1) / heads : 1;  // steps of a head
  at::parallel_for(0, heads, 1, [&](int64_t first, int64_t end) {
    std::vector<float> decay(static_cast<size_t>(K)), u(static_cast<size_t>(V));
    for (int64_t h = first; h < end; ++h) {
      const HeadData head{q + h / repeats * K,
                          k + h / repeats * K,
                          v + h * V,
                          step == nullptr ? nullptr : step + h * wide,
                          b == nullptr ? nullptr : b + h,
                          rate + h * (one_rate ? 1 : K),
                          node.key_heads * K,
                          heads * V,
                          heads * wide,
                          heads,
                          wide,
                          one_rate,
                          skip == nullptr ? 0.f : skip[h],
                          made + h * V,
                          kept + h * K * V};
      run_head(head, node, tokens, decay.data(), u.data());
    }
  });
  state_HKV = state;
  return out.to(input.value.device());
}

}  // namespace swage::model
