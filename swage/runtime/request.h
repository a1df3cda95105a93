// What is asked of the engine, and what it answers.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "swage/runtime/sampler.h"

namespace swage::runtime {

using RequestId = uint64_t;

// What an answer has to be. It is cut short all the same where max_new_tokens or the context ends.
struct Grammar {
  enum class Kind {
    None,
    JsonObject,  // any JSON object; no text
    JsonSchema,
    Regex,  // of the whole answer
    Gbnf,   // a grammar as llama.cpp writes them, whose first rule is called "root"
    Lark,   // a grammar as llguidance writes them, whose first rule is called "start"
  };
  Kind kind = Kind::None;
  std::string text = {};
};
const char* name_of(Grammar::Kind kind);  // "json_schema"

// What is given of the model's outputs behind a prompt, beside or in place of an answer.
enum class Pooling {
  None,
  Last,  // the last token's
  Mean,  // of all tokens
};

struct Request {
  std::vector<int64_t> prompt;     // token ids
  int64_t max_new_tokens = 128;    // at most; the context's end comes first
  int64_t min_new_tokens = 0;      // the end tokens do not come before
  bool ignore_end = false;         // end tokens are text like others
  std::vector<std::string> stops;  // text ends before the first of them
  SamplingOptions sampling;
  Grammar grammar;
  int64_t draft_tokens = 0;  // so many are guessed from what stands in the text so far, and computed in one step with
                             // the next one: the answer is the same, often sooner
  int64_t choices = 1;       // answers wanted
  int64_t best_of = 0;       // answers made, the most likely ones of which are given at the end; 0: as many
                             // as choices
  bool logprobs = false;     // logarithms of the probabilities that the model gave what was chosen,
  int64_t top_logprobs = 0;  // and so many most likely tokens
  bool prompt_logprobs = false;  // the same of the prompt
  Pooling pooling = Pooling::None;
  std::string client;  // requests of one client wait for each other, those of others do not

  // What text can say of it: the prompt's ids and the client come from the caller.
  template <class V>
  void visit(V& v) {
    v("max_new_tokens", max_new_tokens, "stop after so many");
    v("min_new_tokens", min_new_tokens, "end tokens do not come before");
    v("ignore_end", ignore_end, "end tokens are text like others");
    v("stop", stops, "text ends before the first of these");
    sampling.visit(v);
    v("n", choices, "answers to each prompt");
    v("best_of", best_of, "make so many, give the most likely ones; 0: as many as n");
    v("logprobs", logprobs, "logarithms of the probabilities of what was chosen");
    v("top_logprobs", top_logprobs, "and of so many most likely tokens");
    v("draft_tokens", draft_tokens, "guess so many next tokens from what stands in the text already: the same text");
    v("prompt_logprobs", prompt_logprobs, "the same of the prompt");
  }
};

struct TokenInfo {
  int64_t id = 0;
  double logprob = 0;  // if asked for; 0 for a prompt's first token
  std::vector<std::pair<int64_t, double>> top;
  std::string text = {};  // that a token which was made has made certain; stop strings are not looked at
};

enum class Finish {
  End,     // an end token
  Stop,    // a stop string
  Length,  // max_new_tokens or the context's end
  Cancelled,
  Failed,  // Event::error says how
};
const char* name_of(Finish finish);

// News of one answer. Its texts, joined, are its text; the last one has `finish`.
struct Event {
  RequestId request = 0;
  int64_t choice = 0;
  std::string text;               // that is certain now
  std::vector<TokenInfo> tokens;  // that were made since the last event, an end token among them
  std::optional<Finish> finish;
  std::string stop;  // the string that ended it
  std::string error;
  // With `finish`.
  int64_t prompt_tokens = 0, cached_tokens = 0;  // cached: that another sequence had computed
  int64_t new_tokens = 0;                        // without the end token
  std::vector<TokenInfo> prompt;                 // with prompt_logprobs, of choice 0
  std::vector<double> pooled;                    // with pooling, of choice 0
};

// Called by the thread that calls Engine::step(), in the order of events. If it throws, the request is cancelled.
using EventSink = std::function<void(Event&&)>;

}  // namespace swage::runtime
