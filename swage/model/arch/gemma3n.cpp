// Gemma 3n (text): several streams of which each layer predicts all and runs on one (AltUp, arXiv:2301.13310), a
// low-rank path beside attention (LAuReL, arXiv:2411.07501), sparse activations, a second embedding for each layer;
// keys and values of the last layers are those of earlier ones. All of it travels in the residual stream: the
// embedding's own hidden state, the second embedding, the other hidden states, shared keys and values.
#include <algorithm>
#include <cmath>

#include "swage/base/error.h"
#include "swage/model/arch/architectures.h"
#include "swage/model/arch/gemma_parts.h"

namespace swage::model {

using namespace graph;

namespace {

constexpr int64_t kMostStreams = 16;
constexpr int64_t kSparseLayers = 10;  // the first ones, where the config does not say which, and there are more
constexpr double kUsualShare = 0.95;   // of activations that are zero there
constexpr double kLeastSquare = 1e-5;  // of a hidden state whose length is matched

struct Gemma3n {
  Sizes sizes;
  std::vector<int64_t> windows, inner;  // of each layer
  std::vector<double> cuts;  // of each layer: deviations below which activations are zero; infinite: none are
  int64_t streams, active, per_layer, rank;
  int64_t shares_from;   // layers from here on have no keys and values of their own
  int64_t shared_at[2];  // of the stream, of layers without and with a window
  int64_t width;         // of the stream
  bool scales_active;

  int64_t keys() const { return sizes.kv_heads * sizes.head_size; }
  bool slides(int64_t layer) const { return windows[size_t(layer)] > 0; }
  // Where hidden state i lies.
  int64_t at(int64_t i) const { return i == 0 ? 0 : i * sizes.hidden + per_layer * sizes.layers; }
  // The last layer of its kind with keys and values of its own: later ones share them.
  bool stores(int64_t layer) const {
    if (layer >= shares_from || shares_from == sizes.layers) return false;
    for (int64_t later = layer + 1; later < shares_from; ++later)
      if (slides(later) == slides(layer)) return false;
    return true;
  }
};

// z with Phi(z) = share.
double normal_quantile(double share) {
  double low = -40, high = 40;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < share ? low : high) = middle;
  }
  return low;
}

// A field that is one number, or a list of one for each layer.
std::vector<double> by_layer(const ConfigFields& config, const char* key, int64_t layers, double otherwise) {
  const Json* field = config.json().find(key);
  if (field == nullptr || field->is_null()) return std::vector<double>(size_t(layers), otherwise);
  const auto checked = [&](const Json& one) {
    SWAGE_CHECK(one.is_number() && one.as_double() >= 0 && one.as_double() <= kLargestSize, CorruptData,
                "config.json: ", key, " holds what is no size or share");
    return one.as_double();
  };
  if (!field->is_array()) return std::vector<double>(size_t(layers), checked(*field));
  std::vector<double> out;
  for (const Json& one : field->as_array()) out.push_back(checked(one));
  SWAGE_CHECK(int64_t(out.size()) == layers, CorruptData, "config.json: ", key, " has ", out.size(), " entries for ",
              layers, " layers");
  return out;
}

void place(Gemma3n& g) {
  g.width = g.at(g.streams);
  for (int64_t& at : g.shared_at) {
    at = g.width;
    if (g.shares_from < g.sizes.layers) g.width += 2 * g.keys();
  }
}

Gemma3n gemma3n_sizes(const ConfigFields& config) {
  Json fields = config.json();
  const int64_t layers = config.size("num_hidden_layers");
  Gemma3n g{};
  for (const double size : by_layer(config, "intermediate_size", layers, 16384)) g.inner.push_back(int64_t(size));
  fields.set("intermediate_size", g.inner.at(0));
  Sizes& s = g.sizes;
  s = sizes_of(ConfigFields(fields), {.activation = "hidden_activation"});
  if (config.json().find("hidden_activation") == nullptr) s.activation = Activation::GeluTanh;
  s.head_size = config.size_or("head_dim", 256, 65536);
  g.windows = windows_of(config, layers, config.size_or("sliding_window", 512, int64_t{1} << 40),
                         [](int64_t layer) { return (layer + 1) % 5 != 0; });
  std::vector<double> shares = by_layer(config, "activation_sparsity_pattern", layers, 0);
  const Json* pattern = fields.find("activation_sparsity_pattern");
  if ((pattern == nullptr || pattern->is_null()) && layers > kSparseLayers)
    std::fill_n(shares.begin(), kSparseLayers, kUsualShare);
  for (const double share : shares) {
    SWAGE_CHECK(share < 1, CorruptData, "config.json: activation_sparsity_pattern holds ", share);
    g.cuts.push_back(share > 0 ? normal_quantile(share) : -INFINITY);
  }
  g.streams = config.size_or("altup_num_inputs", 4, kMostStreams);
  g.active = config.whole_or("altup_active_idx", 0);
  SWAGE_CHECK(g.active >= 0 && g.active < g.streams, CorruptData, "config.json: altup_active_idx ", g.active, " of ",
              g.streams);
  g.per_layer = config.size_or("hidden_size_per_layer_input", 256);
  g.rank = config.size_or("laurel_rank", 64);
  g.scales_active = config.flag_or("altup_correct_scale", true);
  const int64_t shared = config.whole_or("num_kv_shared_layers", 15);
  SWAGE_CHECK(shared >= 0 && shared < layers, CorruptData, "config.json: num_kv_shared_layers ", shared, " of ", layers,
              " layers");
  g.shares_from = layers - shared;
  SWAGE_CHECK(g.per_layer * layers <= kLargestSize, CorruptData, "config.json: hidden_size_per_layer_input ",
              g.per_layer, " is too large");
  place(g);
  return g;
}

// A layer under construction.
class Layer {
 public:
  Layer(const Gemma3n& g, int64_t layer) : g_(g), layer_(layer), b_(cat("model.layers.", layer, "."), g.width) {}

  BlockProgram describe() {
    const std::vector<Value> predicted = predict();
    const Value active = predicted[size_t(g_.active)], x = norm(active, "input_layernorm");
    const Value low =
        b_.linear(b_.linear(x, aside("laurel.linear_left", g_.rank)), aside("laurel.linear_right", s_.hidden));
    const Value beside = b_.sum({x, norm(low, "laurel.post_laurel_norm")});
    const Value mixed = norm(attention(x), "post_attention_layernorm");
    const Value inside = b_.scale(b_.sum({active, mixed, beside}), std::sqrt(0.5));
    const Value mlp = norm(feed_forward(norm(inside, "pre_feedforward_layernorm")), "post_feedforward_layernorm");
    correct(predicted, b_.sum({inside, mlp}));
    return b_.finish();
  }

 private:
  Value norm(Value x, const char* name) { return b_.norm(x, rms_norm(name, s_.hidden, s_.epsilon)); }
  // Small or of low rank: it stays as it is.
  static LinearSpec aside(const char* name, int64_t rows) {
    return {.name = name, .role = Role::Other, .rows = rows, .keeps_float = true};
  }

  // What a hidden state says of how streams are mixed.
  Value modality(Value x) {
    const Value normed = b_.scale(norm(x, "altup.router_norm"), 1 / static_cast<double>(s_.hidden));
    return b_.activate(b_.linear(normed, aside("altup.modality_router", g_.streams)), Activation::Tanh);
  }

  std::vector<Value> predict() {
    std::vector<Value> in, out;
    for (int64_t i = 0; i < g_.streams; ++i) in.push_back(b_.slice(kStream, g_.at(i), s_.hidden));
    const Value factors =
        b_.linear(modality(in[size_t(g_.active)]), aside("altup.prediction_coefs", g_.streams * g_.streams));
    for (int64_t i = 0; i < g_.streams; ++i) {
      std::vector<Value> parts = {in[size_t(i)]};
      for (int64_t j = 0; j < g_.streams; ++j)
        parts.push_back(b_.gate(b_.slice(factors, i * g_.streams + j, 1), in[size_t(j)], Activation::Identity));
      out.push_back(b_.sum(std::move(parts)));
    }
    return out;
  }

  Value attention(Value x) {
    const int64_t keys = g_.keys(), at = g_.shared_at[g_.slides(layer_) ? 1 : 0];
    const int table = g_.slides(layer_) ? 0 : 1;
    const auto head_norm = [&](Value value, const char* name, bool weight = true) {
      NormSpec spec = rms_norm(name, s_.head_size, s_.epsilon);
      spec.weight = weight;
      return b_.norm(value, spec);
    };
    Value query = b_.linear(x, Role::Query, "self_attn.q_proj", s_.heads * s_.head_size), key = -1, value = -1;
    query = b_.rope(head_norm(query, "self_attn.q_norm"), s_.heads, table);
    if (layer_ < g_.shares_from) {
      key = head_norm(b_.linear(x, Role::Key, "self_attn.k_proj", keys), "self_attn.k_norm");
      key = b_.rope(key, s_.kv_heads, table);
      value = head_norm(b_.linear(x, Role::Value, "self_attn.v_proj", keys), "self_attn.v_norm", false);
    } else {
      key = b_.slice(kStream, at, keys);
      value = b_.slice(kStream, at + keys, keys);
    }
    if (g_.stores(layer_)) {
      b_.write(key, at);
      b_.write(value, at + keys);
    }
    AttentionNode form{};
    form.heads = s_.heads;
    form.kv_heads = s_.kv_heads;
    form.head_size = form.value_size = s_.head_size;
    form.window = g_.windows[size_t(layer_)];
    return b_.linear(b_.attention(query, key, value, "self_attn", form), Role::Output, "self_attn.o_proj", s_.hidden);
  }

  Value feed_forward(Value x) {
    const int64_t inner = g_.inner[size_t(layer_)];
    Value gate = b_.linear(x, Role::Gate, "mlp.gate_proj", inner);
    const Value up = b_.linear(x, Role::Up, "mlp.up_proj", inner);
    if (const double cut = g_.cuts[size_t(layer_)]; std::isfinite(cut)) gate = b_.cut(gate, cut);
    return b_.linear(b_.gate(gate, up, s_.activation), Role::Down, "mlp.down_proj", s_.hidden);
  }

  // Of all streams by what the layer made of one; then the layer's part of the second embedding goes to the others.
  void correct(const std::vector<Value>& predicted, Value made) {
    const Value news = b_.sum({made, b_.scale(predicted[size_t(g_.active)], -1)});
    const Value factors = b_.linear(modality(made), aside("altup.correction_coefs", g_.streams));
    std::vector<Value> corrected;
    for (int64_t i = 0; i < g_.streams; ++i)
      corrected.push_back(
          b_.sum({predicted[size_t(i)], news, b_.gate(b_.slice(factors, i, 1), news, Activation::Identity)}));
    Value first = corrected[size_t(g_.active)];
    if (g_.scales_active) first = b_.multiply(first, "altup.correct_output_scale", s_.hidden);
    const Value own = b_.slice(kStream, s_.hidden + layer_ * g_.per_layer, g_.per_layer);
    const Value narrow = b_.linear(first, aside("per_layer_input_gate", g_.per_layer));
    const Value back = b_.linear(b_.gate(narrow, own, s_.activation), aside("per_layer_projection", s_.hidden));
    const Value rest = norm(back, "post_per_layer_input_norm");
    for (int64_t i = 0; i < g_.streams; ++i) {
      const Value one = corrected[size_t(i)];
      b_.write(i == 0 ? one : b_.sum({one, rest}), g_.at(i));
    }
  }

  const Gemma3n& g_;
  const Sizes& s_ = g_.sizes;
  int64_t layer_;
  BlockBuilder b_;
};

// Hidden state i is made of the first, or of itself, by a linear that keeps the length of the first.
Value projected(BlockBuilder& b, const Gemma3n& g, const char* name, int64_t i, Value from, Value like) {
  const Value out = b.linear(from, {.name = cat(name, ".", i - 1), .rows = g.sizes.hidden, .keeps_float = true});
  return b.match(out, like, std::sqrt(kLeastSquare));
}

BlockProgram epilogue_of(const Gemma3n& g) {
  BlockBuilder b("model.", g.width);
  std::vector<Value> all = {b.slice(kStream, 0, g.sizes.hidden)};
  for (int64_t i = 1; i < g.streams; ++i)
    all.push_back(projected(b, g, "altup_unembed_projections", i, b.slice(kStream, g.at(i), g.sizes.hidden), all[0]));
  b.write(b.scale(b.sum(std::move(all)), 1 / static_cast<double>(g.streams)), 0);
  return b.finish();
}

}  // namespace

ModelProgram describe_gemma3n_text(const ConfigFields& config, const checkpoint::WeightSource&) {
  const Gemma3n g = gemma3n_sizes(config);
  const Sizes& s = g.sizes;
  ModelProgram model =
      model_around(config, s.hidden, "model.embed_tokens", rms_norm("model.norm", s.hidden, s.epsilon), true);
  model.embedding_scale = std::sqrt(static_cast<double>(s.hidden));
  model.logit_softcap = config.positive_or("final_logit_softcapping", 30);
  model.ropes = gemma_ropes(config, s.head_size);
  model.stream_width = g.width;
  BlockBuilder prologue = with_second_embedding(config, s, g.per_layer, model);
  const Value first = prologue.slice(kStream, 0, s.hidden);
  for (int64_t i = 1; i < g.streams; ++i)
    prologue.write(projected(prologue, g, "altup_projections", i, first, first), g.at(i));
  model.prologue = prologue.finish();
  model.epilogue = epilogue_of(g);
  for (int64_t layer = 0; layer < s.layers; ++layer) model.blocks.push_back(Layer(g, layer).describe());
  return model;
}

}  // namespace swage::model
