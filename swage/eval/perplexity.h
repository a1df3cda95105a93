// Perplexity of a language model on windows of token ids, one block of the model in memory at a time.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "swage/base/context.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/eval/questions.h"
#include "swage/model/model.h"

namespace swage::eval {

struct Perplexity {
  double nll_sum = 0;  // of all predicted tokens, nats
  int64_t tokens = 0;  // predicted: of a causal model window - 1 for each window, of a masked one those masked
  double nll() const { return tokens > 0 ? nll_sum / double(tokens) : 0; }
  double perplexity() const;
};

struct PerplexityOptions {
  int64_t windows_at_once =
      64;                // their hidden states are in memory together; the blocks are read once for each such set
  Masking masking = {};  // of a masked language model
};

// windows_NL int64 [N, L], L >= 2: mean negative log likelihood of tokens 1..L-1 of every window given the ones before;
// of a masked language model, of masked tokens given all the others. Errors of questions_of(); Error(Numerical) if it
// is not finite.
Perplexity perplexity(model::Model& model, const checkpoint::WeightSource& weights, const at::Tensor& windows_NL,
                      const Context& context, const PerplexityOptions& options = {});

}  // namespace swage::eval
