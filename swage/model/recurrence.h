// Recurrences over tokens: convolutions and states that decay, token by token, so that what comes out does not depend
// on how a sequence is cut.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/program.h"

namespace swage::model {

// T tokens, C channels, J kernel.
struct Convolution {
  at::Tensor weight_CJ, bias_C;  // bias undefined: none
};
Convolution load_convolution(const graph::ConvolutionNode& node, const checkpoint::WeightSource& weights);
// x [T, C] -> [T, C]. `past` [J - 1, C]: what came before; undefined at a sequence's beginning; set to what the next
// tokens need.
at::Tensor convolve(const Convolution& convolution, const graph::ConvolutionNode& node, const at::Tensor& x_TC,
                    at::Tensor& past_PC);

// H heads, K key size.
struct Recurrence {
  at::Tensor rates;      // f32 on the CPU, [H] or [H, K]
  at::Tensor gate_bias;  // undefined: none
  at::Tensor skip_H;     // undefined: none
};
Recurrence load_recurrence(const graph::RecurrenceNode& node, int64_t gate_width,
                           const checkpoint::WeightSource& weights);
// What enters a recurrence, [T, ...] each; gate and beta undefined if there are none.
struct RecurrenceInput {
  at::Tensor query, key, value, gate, beta;
};
// -> [T, H * V]. `state` [H, K, V]: undefined at a sequence's beginning; set to that after the last token.
at::Tensor recur(const Recurrence& recurrence, const graph::RecurrenceNode& node, const RecurrenceInput& input,
                 at::Tensor& state_HKV);

}  // namespace swage::model
