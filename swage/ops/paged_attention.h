// Causal attention over keys and values that lie in blocks of 16 tokens, for many sequences at once. What a query gives
// depends on its position and on its own sequence alone, to the bit: not on which queries are computed with it.
//
// T queries of all sequences together, H query heads, G key-value heads, E head size, V value size.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "swage/kernels/paged.h"

namespace swage::ops {

using kernels::kBlockTokens;

// What one attention keeps in every block: keys [G, E, 16], values [G, 16, V] and, of sparse attention, the index's
// keys [index_size, 16] in f32. Codes have f32 scales [G, 16] behind the keys and behind the values.
struct PagedLayer {
  int64_t groups = 0, key_size = 0, value_size = 0, index_size = 0;
  kernels::CacheFormat format = kernels::CacheFormat::F32;
  int64_t offset = 0;  // bytes, from the block's beginning

  int64_t key_bytes() const { return groups * key_size * kBlockTokens * kernels::bytes_of(format); }
  int64_t value_bytes() const { return groups * value_size * kBlockTokens * kernels::bytes_of(format); }
  int64_t scale_bytes() const { return kernels::has_scales(format) ? groups * kBlockTokens * 4 : 0; }
  int64_t index_bytes() const { return index_size * kBlockTokens * 4; }
  int64_t value_offset() const { return offset + key_bytes() + scale_bytes(); }
  int64_t index_offset() const { return value_offset() + value_bytes() + scale_bytes(); }
  int64_t bytes() const { return key_bytes() + value_bytes() + 2 * scale_bytes() + index_bytes(); }
};

using Blocks = std::span<std::byte* const>;  // of a sequence, in its order

// Scales of codes that are the same for all tokens: f32 [G], or undefined, where each token's largest number becomes
// the largest code.
struct KeptScales {
  at::Tensor key_G = {}, value_G = {};
};

// Puts keys [t, G, E] and values [t, G, V] of the tokens from `position` on into their blocks; `index_tE` undefined:
// none.
void store_tokens(const PagedLayer& layer, Blocks blocks, int64_t position, const at::Tensor& key_tGE,
                  const at::Tensor& value_tGV, const at::Tensor& index_tE = {}, const KeptScales& scales = {});

// Queries of one sequence: rows [first, first + rows) stand at the positions from `position` on, and their keys are in
// the blocks.
struct PagedQueries {
  Blocks blocks;
  int64_t first, rows, position;
  std::vector<uint8_t> chosen = {};  // [rows, position + rows]: which keys each sees; empty: all up to itself
};

struct PagedForm {
  double scale;              // of the scores, above 0
  int64_t window = 0;        // a query sees itself and window - 1 keys before it; 0: all of them
  int64_t chunk = 0;         // it sees those of its own run of so many; 0: all of them
  double softcap = 0;        // scores become cap * tanh(score / cap); 0: they stay
  at::Tensor slopes_H = {};  // what a head's scores lose for each position between (ALiBi); undefined: nothing
  at::Tensor sinks_H = {};   // scores that take part and have no value; undefined: none
};

// q [T, H, E] -> [T, H * V]
at::Tensor attend_paged(const PagedLayer& layer, std::span<const PagedQueries> sequences, const at::Tensor& q_THE,
                        const PagedForm& form);

// Which keys each query of a sparse attention sees, as PagedQueries::chosen: the `count` with the largest sum over
// heads I of relu(query . key) * weight, the earlier of equals; empty if there are no more than `count`. q [rows, I,
// index_size], weights [rows, I] of the sequence's own rows.
std::vector<uint8_t> chosen_keys(const PagedLayer& layer, const PagedQueries& queries, const at::Tensor& q_tIE,
                                 const at::Tensor& weights_tI, int64_t count);

}  // namespace swage::ops
