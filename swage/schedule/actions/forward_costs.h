// What taking activations through the model costs, in whichever pass.
#pragma once
#include <cstdint>

#include "swage/schedule/pass_costs.h"

namespace swage::pipeline::actions {

// Embedding all rows, beside embedding and head.
void cost_of_embedding(PassCosts& costs);
// Reading the weights of block b, and the input of its first stage.
void cost_of_entering(PassCosts& costs, int64_t b);
// Running the linears of stage s, and what stands between them and the next ones.
void cost_of_step(PassCosts& costs, int64_t b, int64_t s);
// Giving the weights back.
void cost_of_leaving(PassCosts& costs);

}  // namespace swage::pipeline::actions
