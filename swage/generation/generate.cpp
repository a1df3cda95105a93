#include "swage/generation/generate.h"

#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>

#include "swage/base/error.h"

namespace swage::generation {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Emits the growing text of a generation piece by piece. A piece is held back while its end may still change: a byte
// sequence that is not yet a whole character decodes to U+FFFD.
class TextStream {
 public:
  TextStream(const data::Tokenizer& tokenizer, const std::function<void(const std::string&)>& emit)
      : tokenizer_(tokenizer),
        emit_(emit) {}

  void update(const std::vector<int64_t>& ids, bool last) {
    std::string text = tokenizer_.decode(ids, true);
    const bool unfinished = text.ends_with("\xef\xbf\xbd");
    if (text.size() > text_.size() && (last || !unfinished)) {
      emit_(text.substr(text_.size()));
      text_ = std::move(text);
    }
  }
  std::string take() { return std::move(text_); }

 private:
  const data::Tokenizer& tokenizer_;
  const std::function<void(const std::string&)>& emit_;
  std::string text_;
};

}  // namespace

Generator::Generator(model::Model& model, const checkpoint::WeightSource& weights, const Context& context)
    : model_(model),
      context_(context) {
  SWAGE_CHECK(model.program().predicts == graph::Predicts::Next && !model.program().target, Unsupported,
              "generate: the model is ", model.program().target ? "an encoder-decoder" : "an encoder",
              ", which does not continue text here; eval --token-ids runs it");
  model_.load_ends(weights);
  for (int64_t b = 0; b < model_.blocks(); ++b) {
    context_.check_cancelled();
    if (b + 1 < model_.blocks()) weights.prefetch(model_.tensors_of_block(b + 1));
    blocks_.push_back(model_.load_block(b, weights));
  }
}

at::Tensor Generator::next_logits(const std::vector<int64_t>& ids, int64_t position,
                                  std::vector<model::KvCache>& caches) const {
  model::Flow flow;
  flow.position = position;
  flow.hidden_TD = model_.embed(at::tensor(ids, at::kLong), position);
  for (size_t b = 0; b < blocks_.size(); ++b) {
    flow.cache = &caches[b];
    blocks_[b]->forward(flow);
  }
  return model_.logits(flow.hidden_TD.narrow(0, flow.hidden_TD.size(0) - 1, 1))[0];
}

Generation Generator::run(const std::vector<int64_t>& prompt_ids, const data::Tokenizer& tokenizer,
                          const GenerationOptions& options, const std::function<void(const std::string&)>& emit) {
  const c10::InferenceMode inference;  // half of what small operations cost is bookkeeping for gradients
  const int64_t limit = model_.max_positions(), prompt = int64_t(prompt_ids.size());
  SWAGE_CHECK(prompt > 0, InvalidArgument, "the prompt is empty");
  SWAGE_CHECK(limit == 0 || prompt < limit, InvalidArgument, "the prompt has ", prompt,
              " tokens, the model takes fewer than ", limit);
  const int64_t budget = limit == 0 ? options.max_new_tokens : std::min(options.max_new_tokens, limit - prompt);
  const std::vector<int64_t> ends = tokenizer.end_ids();
  std::vector<model::KvCache> caches;
  for (size_t b = 0; b < blocks_.size(); ++b) caches.push_back(model_.make_cache());
  UniformStream uniform(context_.seed);
  TextStream stream(tokenizer, emit);
  Generation out;

  auto start = Clock::now();
  at::Tensor logits_V = next_logits(prompt_ids, 0, caches);
  out.prefill_seconds = seconds_since(start);
  start = Clock::now();
  while (int64_t(out.ids.size()) < budget) {
    context_.check_cancelled();
    const int64_t id = sample(logits_V, options.sampling, uniform);
    out.reached_end = std::find(ends.begin(), ends.end(), id) != ends.end();
    if (out.reached_end) break;
    out.ids.push_back(id);
    stream.update(out.ids, false);
    if (int64_t(out.ids.size()) < budget) logits_V = next_logits({id}, prompt + int64_t(out.ids.size()) - 1, caches);
  }
  stream.update(out.ids, true);
  out.decode_seconds = seconds_since(start);
  out.text = stream.take();
  return out;
}

}  // namespace swage::generation
