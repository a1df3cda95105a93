// What the engine knows of tokens as text.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "swage/data/grammar.h"
#include "swage/data/tokenizer.h"
#include "swage/runtime/request.h"

namespace swage::runtime {

// Thread-safe.
class Vocabulary {
 public:
  // `tokenizer` null: there is no text. `size`: tokens that may come next.
  Vocabulary(const data::Tokenizer* tokenizer, int64_t size);
  const data::Tokenizer* tokenizer() const { return tokenizer_; }
  const std::vector<int64_t>& end_ids() const { return end_ids_; }
  // Nothing where there is no grammar. Error(InvalidArgument) saying what is wrong with it.
  std::optional<data::GrammarMatcher> compile(const Grammar& grammar) const;

 private:
  const data::GrammarVocabulary& grammars() const;

  const data::Tokenizer* const tokenizer_;
  const int64_t size_;
  const std::vector<int64_t> end_ids_;
  mutable std::mutex mutex_;
  mutable std::unique_ptr<data::GrammarVocabulary> grammars_;  // made when the first grammar comes
};

}  // namespace swage::runtime
