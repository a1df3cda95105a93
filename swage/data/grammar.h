// Texts that have to follow a JSON schema, a regular expression or a grammar: which tokens may come next.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "swage/data/tokenizer.h"

namespace swage::data {

// Where one text stands in its grammar. Not thread-safe. Error(InvalidArgument) where the next token takes too long to
// find.
class GrammarMatcher {
 public:
  struct State;
  explicit GrammarMatcher(std::unique_ptr<State> state);
  ~GrammarMatcher();
  GrammarMatcher(GrammarMatcher&&) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&&) noexcept;

  // Another text that stands where this one does.
  GrammarMatcher copy() const;
  // Sets the bits of the tokens that may come next. Returns whether the text may end here; it must if there are none.
  bool mask(std::span<uint32_t> words);
  // Goes on by one of these tokens. Returns whether nothing may follow.
  bool consume(int64_t id);

 private:
  std::unique_ptr<State> state_;
};

// A tokenizer's tokens, ready for grammars. Thread-safe.
class GrammarVocabulary {
 public:
  // `size`: tokens that may come next. Error(Unsupported) for a tokenizer whose tokens do not stand for bytes each.
  GrammarVocabulary(const Tokenizer& tokenizer, int64_t size);
  ~GrammarVocabulary();

  // `kind`: "json_object", "json_schema", "regex", "gbnf" (llama.cpp's grammars) or "lark" (llguidance's). What it
  // takes is bounded. Error(InvalidArgument) saying what is wrong with the text.
  GrammarMatcher compile(const std::string& kind, const std::string& text) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace swage::data
