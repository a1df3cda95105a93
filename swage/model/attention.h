// Causal attention with grouped key-value heads and an optional sliding window.
//
// T queries, S keys seen so far (the last T of them belong to the queries), H query heads, G key-value heads, E head size.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace swage::model {

// q [T, H, E], k and v [G, S, E] of any strides with the last dimension dense -> [T, H * E], contiguous. Query t stands
// at position S - T + t and sees the keys up to itself, with `window` > 0 only the last `window` of those. Scores are
// divided by sqrt(E). H is a multiple of G; query head h reads key-value head h / (H / G).
at::Tensor attend(const at::Tensor& q_THE, const at::Tensor& k_GSE, const at::Tensor& v_GSE, int64_t window);

}  // namespace swage::model
