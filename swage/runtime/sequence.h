// One answer while it is made: its tokens, the memory it holds, its sampler and its text.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "swage/data/grammar.h"
#include "swage/data/tokenizer.h"
#include "swage/runtime/request.h"
#include "swage/runtime/sequence_cache.h"
#include "swage/runtime/stop_strings.h"

namespace swage::runtime {

struct Group;

struct Sequence {
  Sequence(Group& group, int64_t choice, const data::Tokenizer* tokenizer);

  int64_t prompt() const;                                             // tokens
  int64_t made() const { return int64_t(ids.size()) - prompt(); }     // tokens
  int64_t pending() const { return int64_t(ids.size()) - computed; }  // tokens that are not in the cache
  // Chooses the next token from logits [V] and ends the sequence where that ends it. `context`: tokens at most. A
  // grammar that takes too long fails the sequence.
  void take(const float* logits, int64_t vocabulary, const std::vector<int64_t>& end_ids, int64_t context);
  // Ends it, with the text that still waits.
  void end(Finish how);
  bool is_decoding() const { return pending() == 1 && computed >= prompt(); }

  Group* group;
  int64_t choice;
  std::vector<int64_t> ids;  // prompt and what was made, without an end token
  int64_t computed = 0;      // of these, in the cache
  int64_t cached = 0;        // of the prompt, that others had computed
  SequenceMemory memory;
  Sampler sampler;
  std::optional<data::GrammarMatcher> grammar;
  std::optional<data::TextStream> text;
  StopStrings stops;
  std::optional<Finish> finish;
  double logprob_sum = 0;
  Event news;            // that was not told yet
  bool is_told = false;  // that it ended

 private:
  // Who may be chosen next, by what is asked and by the grammar.
  Permitted permitted(int64_t vocabulary, const std::vector<int64_t>& end_ids);
  void note(const float* logits, int64_t vocabulary, int64_t id);
  void add_text(int64_t id);
};

// The answers of one request.
struct Group {
  RequestId id = 0;
  Request request;
  EventSink sink;
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<TokenInfo> prompt;  // with prompt_logprobs
  std::vector<double> pooled;     // with pooling, its sum so far
  bool waits_for_first = false;   // the other answers begin when the first one's prompt is in the cache

  bool is_held_back() const;  // all is told at the end
  bool is_done() const;
};

}  // namespace swage::runtime
