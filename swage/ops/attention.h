// Attention with grouped key-value heads, and what families add to it: a sliding window, soft caps, slopes, sinks,
// scores of distances.
//
// T queries, S keys seen so far (the last T of them belong to the queries), H query heads, G key-value heads, E head
// size, V value size.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace swage::ops {

// How scores q k^T become weights.
struct AttentionForm {
  double scale;              // of the scores
  int64_t window = 0;        // a query sees itself and window - 1 keys before it (on either side); 0: all of them
  double softcap = 0;        // scores become cap * tanh(score / cap); 0: they stay
  at::Tensor slopes_H = {};  // f32 on the CPU: what a head's scores lose for each position between key and query
                             // (ALiBi); undefined: nothing
  at::Tensor sinks_H = {};   // scores that take part in the softmax and have no value; undefined: none
  bool causal = true;        // false: keys behind a query are seen too
  at::Tensor bias_HTS = {};  // f32: what scores gain; undefined: nothing
};

// q [T, H, E], k [G, S, E] and v [G, S, V] of any strides with the last dimension dense -> [T, H * V], contiguous.
// Query t stands at position S - T + t and, if causal, sees the keys up to itself. H is a multiple of G; query head h
// reads key-value head h / (H / G).
at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSV, const AttentionForm& form);

// The slopes of ALiBi (Press et al. 2022, arXiv:2108.12409) for so many heads: powers of 2^(-8/n), n the power of two
// up to `heads`; the others lie between.
at::Tensor alibi_slopes(int64_t heads);

}  // namespace swage::ops
