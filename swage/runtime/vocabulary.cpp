#include "swage/runtime/vocabulary.h"

#include "swage/base/error.h"

namespace swage::runtime {

const char* name_of(Grammar::Kind kind) {
  switch (kind) {
    case Grammar::Kind::JsonObject:
      return "json_object";
    case Grammar::Kind::JsonSchema:
      return "json_schema";
    case Grammar::Kind::Regex:
      return "regex";
    case Grammar::Kind::Gbnf:
      return "gbnf";
    case Grammar::Kind::Lark:
      return "lark";
    case Grammar::Kind::None:
      break;
  }
  return "none";
}

Vocabulary::Vocabulary(const data::Tokenizer* tokenizer, int64_t size)
    : tokenizer_(tokenizer),
      size_(size),
      end_ids_(tokenizer == nullptr ? std::vector<int64_t>() : tokenizer->end_ids()) {}

const data::GrammarVocabulary& Vocabulary::grammars() const {
  const std::lock_guard lock(mutex_);
  if (!grammars_) grammars_ = std::make_unique<data::GrammarVocabulary>(*tokenizer_, size_);
  return *grammars_;
}

std::optional<data::GrammarMatcher> Vocabulary::compile(const Grammar& grammar) const {
  if (grammar.kind == Grammar::Kind::None) return {};
  SWAGE_CHECK(tokenizer_ != nullptr, InvalidArgument, "a grammar, and no tokenizer");
  return grammars().compile(name_of(grammar.kind), grammar.text);
}

}  // namespace swage::runtime
