// Autoregressive generation with a KV cache, text streamed as it comes.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/data/tokenizer.h"
#include "swage/generation/sampler.h"
#include "swage/model/model.h"

namespace swage::generation {

struct GenerationOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
};

struct Generation {
  std::vector<int64_t> ids;  // new tokens, without the end token
  std::string text;
  bool reached_end = false;  // an end token came, rather than the limit
  double prefill_seconds = 0, decode_seconds = 0;
};

// A model with all blocks in memory.
class Generator {
 public:
  Generator(model::Model& model, const checkpoint::WeightSource& weights, const Context& context);

  // `emit` gets each piece of text once it is certain (whole UTF-8 characters).
  // Error(InvalidArgument) if the prompt is empty or fills the model's positions.
  Generation run(const std::vector<int64_t>& prompt_ids, const data::Tokenizer& tokenizer,
                 const GenerationOptions& options, const std::function<void(const std::string&)>& emit);

 private:
  at::Tensor next_logits(const std::vector<int64_t>& ids, int64_t position, std::vector<model::KvCache>& caches) const;

  model::Model& model_;
  const Context& context_;
  std::vector<std::unique_ptr<model::Block>> blocks_;
};

}  // namespace swage::generation
