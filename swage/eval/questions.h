// What a language model is asked on a window of text: which token follows each, or which one stands in masked places.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

#include "swage/model/model.h"

namespace swage::eval {

// How places of a window are masked: all that the tokenizer put around the text stay.
struct Masking {
  int64_t token = -1;              // that stands in masked places; -1: unknown
  int64_t prefix = 0, suffix = 0;  // tokens at both ends of a window that are never masked
  double share = 0.15;             // of the others (Devlin et al. 2018), at least one
  uint64_t seed = 42;
};

// N windows of L tokens, P questions each.
struct Questions {
  at::Tensor ids_NL;      // what the model reads
  at::Tensor places_NP;   // whose logits answer
  at::Tensor answers_NP;  // tokens that are right
};

// Of a causal model the tokens behind each but the last; of a masked one, masked tokens, the same in each run. All
// masked places hold Masking::token: no token is kept or exchanged for another, as in training. Error(Unsupported) for
// models that predict no tokens, and for a masked one without a mask token; Error(InvalidArgument) for windows too
// short.
Questions questions_of(const graph::ModelProgram& model, const at::Tensor& windows_NL, const Masking& masking);

// Rows of hidden [L, D] whose logits answer questions [first, first + count) of one window.
at::Tensor rows_asked(const at::Tensor& hidden_LD, const at::Tensor& places_P, int64_t first, int64_t count);

}  // namespace swage::eval
