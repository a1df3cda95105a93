#include "swage/data/grammar.h"

#include "swage/base/utf8.h"
#include "swage/data/bridge.h"

namespace swage::data {

struct GrammarMatcher::State {
  rust::Box<bridge::GrammarMatcher> inner;
};

GrammarMatcher::GrammarMatcher(std::unique_ptr<State> state) : state_(std::move(state)) {}
GrammarMatcher::~GrammarMatcher() = default;
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;

GrammarMatcher GrammarMatcher::copy() const {
  return call_bridge(ErrorKind::InvalidArgument, "grammar",
                     [&] { return GrammarMatcher(std::make_unique<State>(State{state_->inner->copy()})); });
}

bool GrammarMatcher::mask(std::span<uint32_t> words) {
  return call_bridge(ErrorKind::InvalidArgument, "grammar",
                     [&] { return state_->inner->mask({words.data(), words.size()}); });
}

bool GrammarMatcher::consume(int64_t id) {
  return call_bridge(ErrorKind::InvalidArgument, "grammar", [&] { return state_->inner->consume(uint32_t(id)); });
}

struct GrammarVocabulary::State {
  rust::Box<bridge::GrammarVocabulary> inner;
};

GrammarVocabulary::GrammarVocabulary(const Tokenizer& tokenizer, int64_t size)
    : state_(call_bridge(ErrorKind::Unsupported, "grammar", [&] {
        return std::make_unique<State>(State{bridge::grammar_vocabulary(tokenizer.inner(), size_t(size))});
      })) {}

GrammarVocabulary::~GrammarVocabulary() = default;

GrammarMatcher GrammarVocabulary::compile(const std::string& kind, const std::string& text) const {
  SWAGE_CHECK(valid_utf8_prefix(text) == text.size(), InvalidArgument, kind, ": the text is not UTF-8");
  return call_bridge(ErrorKind::InvalidArgument, kind, [&] {
    return GrammarMatcher(std::make_unique<GrammarMatcher::State>(
        GrammarMatcher::State{state_->inner->compile(as_str(kind), as_str(text))}));
  });
}

}  // namespace swage::data
