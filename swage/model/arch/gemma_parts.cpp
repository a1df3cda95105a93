#include "swage/model/arch/gemma_parts.h"

#include <cmath>

namespace swage::model {

using namespace graph;

std::vector<RopeSpec> gemma_ropes(const ConfigFields& config, int64_t head_size) {
  std::vector<RopeSpec> out = ropes_by_layer_type(config, head_size, 10000, 1000000);
  if (!out.empty()) return out;
  return {{.size = head_size, .theta = config.positive_or("rope_local_base_freq", 10000)},
          rope_of(config, head_size, 1000000)};
}

BlockBuilder with_second_embedding(const ConfigFields& config, const Sizes& s, int64_t per_layer, ModelProgram& model) {
  const int64_t all = s.layers * per_layer;
  model.second_embedding =
      EmbeddingSpec{"model.embed_tokens_per_layer", config.size_or("vocab_size_per_layer_input", 262144), all};
  model.second_embedding_scale = std::sqrt(static_cast<double>(per_layer));
  BlockBuilder b("model.", model.stream_width);
  const Value projected =
      b.linear(b.slice(kStream, 0, s.hidden),
               {.name = "per_layer_model_projection", .role = Role::Projection, .rows = all, .keeps_float = true});
  const Value normed = b.norm(b.scale(projected, 1 / std::sqrt(static_cast<double>(s.hidden))),
                              rms_norm("per_layer_projection_norm", per_layer, s.epsilon));
  b.write(b.scale(b.sum({normed, b.slice(kStream, s.hidden, all)}), std::sqrt(0.5)), s.hidden);
  return b;
}

}  // namespace swage::model
