// What several generations of Gemma share.
#pragma once
#include <vector>

#include "swage/model/arch/parts.h"

namespace swage::model {

// Of layers with a window, then of those without: `rope_parameters` by layer type, or rope_local_base_freq beside
// rope_theta and rope_scaling.
std::vector<graph::RopeSpec> gemma_ropes(const ConfigFields& config, int64_t head_size);

// Gives the model a second embedding, of `per_layer` numbers for each layer, which lies in the stream from s.hidden on.
// The builder holds what the prologue begins with: there it is joined with a projection of the first embedding.
graph::BlockBuilder with_second_embedding(const ConfigFields& config, const Sizes& s, int64_t per_layer,
                                          graph::ModelProgram& model);

}  // namespace swage::model
