#include "swage/scheme/matching.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <new>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
// Steps of matching one name, some tenths of a second: an expression that backtracks without end is an error, and hangs
// no run.
constexpr uint32_t kMaxSteps = 5'000'000;
// What nearly all need. Only steps beyond it count for the sum of all names and expressions, of which a few seconds are
// allowed.
constexpr uint32_t kFewSteps = 2'000;
constexpr int64_t kMaxStepsInAll = 100'000'000;

bool is_regex(std::string_view text) { return text.substr(0, kRegexPrefix.size()) == kRegexPrefix; }

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

// "re:" and an expression.
class Regex {
 public:
  explicit Regex(std::string text) : text_(std::move(text)) {
    int error = 0;
    size_t at = 0;
    const std::string_view expression = std::string_view(text_).substr(kRegexPrefix.size());
    code_.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                      PCRE2_ANCHORED | PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                      &error, &at, nullptr));
    SWAGE_CHECK(code_ != nullptr, InvalidArgument, "pattern \"", shown(),
                "\" is not a regular expression: ", message_of(error), " (at character ", at + 1, " of it)");
  }

  // Whether it matches from the start of the name on. `steps_left` of all expressions together. How many a match took
  // the library does not tell: it is tried with more and more of them.
  bool matches(const std::string& name, std::atomic<int64_t>& steps_left) const {
    const std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create(1, nullptr));
    const std::unique_ptr<pcre2_match_context, Free> context(pcre2_match_context_create(nullptr));
    if (data == nullptr || context == nullptr) throw std::bad_alloc();
    int result = PCRE2_ERROR_MATCHLIMIT;
    for (uint32_t steps = kFewSteps; result == PCRE2_ERROR_MATCHLIMIT && steps < 4 * kMaxSteps; steps *= 4) {
      pcre2_set_match_limit(context.get(), std::min(steps, kMaxSteps));
      result = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(name.data()), name.size(), 0, 0, data.get(),
                           context.get());
      SWAGE_CHECK(steps == kFewSteps || (steps_left -= steps) >= 0, InvalidArgument,
                  "the patterns take too long together: among them \"", shown(), "\" on \"", name.substr(0, kShown),
                  "\"; write them without repetitions inside of repetitions");
    }
    SWAGE_CHECK(result >= 0 || result == PCRE2_ERROR_NOMATCH, InvalidArgument, "pattern \"", shown(), "\" on \"",
                name.substr(0, kShown), "\": ", message_of(result),
                "; write it without repetitions inside of repetitions");
    return result >= 0;
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };

  static constexpr size_t kShown = 200;
  std::string shown() const { return text_.size() <= kShown ? text_ : text_.substr(0, kShown) + "..."; }

  std::string text_;
  std::unique_ptr<pcre2_code, Free> code_;
};

struct Patterns::State {
  struct Pattern {
    std::string text;
    std::unique_ptr<const Regex> regex;  // none: an exact or a class name

    bool matches_name(const std::string& name, std::atomic<int64_t>& steps_left) const {
      return regex ? regex->matches(name, steps_left) : text == name;
    }
  };
  mutable std::atomic<int64_t> steps_left = kMaxStepsInAll;
  std::vector<std::string> texts;  // as given
  std::vector<Pattern> patterns;   // sorted: names and classes, then expressions, alphabetically
};

Patterns::Patterns(std::vector<std::string> texts) {
  auto state = std::make_unique<State>();
  for (const std::string& text : texts) {
    state->patterns.push_back({text, is_regex(text) ? std::make_unique<const Regex>(text) : nullptr});
  }
  std::stable_sort(
      state->patterns.begin(), state->patterns.end(), [](const State::Pattern& a, const State::Pattern& b) {
        return std::pair(bool(a.regex), std::string_view(a.text)) < std::pair(bool(b.regex), std::string_view(b.text));
      });
  state->texts = std::move(texts);
  state_ = std::move(state);
}

Patterns::~Patterns() = default;
Patterns::Patterns(Patterns&&) noexcept = default;

std::string Patterns::best(const ModuleName& module) const {
  for (const State::Pattern& pattern : state_->patterns) {
    if (pattern.matches_name(module.name, state_->steps_left)) return pattern.text;
  }
  for (const State::Pattern& pattern : state_->patterns) {
    if (!pattern.regex && pattern.text == module.class_name) return pattern.text;
  }
  return "";
}

bool Patterns::match(const ModuleName& module) const { return !best(module).empty(); }

std::vector<std::string> Patterns::unmatched(const std::vector<ModuleName>& modules) const {
  std::vector<std::string> left = state_->texts;
  for (const State::Pattern& pattern : state_->patterns) {
    const bool hit = std::any_of(modules.begin(), modules.end(), [&](const ModuleName& module) {
      return pattern.matches_name(module.name, state_->steps_left) ||
             (!pattern.regex && pattern.text == module.class_name);
    });
    if (hit) left.erase(std::remove(left.begin(), left.end(), pattern.text), left.end());
  }
  return left;
}

namespace {

std::vector<std::string> all_targets(const std::vector<std::pair<std::string, Scheme>>& groups) {
  std::vector<std::string> targets;
  for (const auto& [name, scheme] : groups) targets.insert(targets.end(), scheme.targets.begin(), scheme.targets.end());
  return targets;
}

}  // namespace

SchemeMatcher::SchemeMatcher(std::vector<std::pair<std::string, Scheme>> groups, std::vector<std::string> ignore)
    : groups_(std::move(groups)),
      targets_(all_targets(groups_)),
      ignore_(std::move(ignore)) {}

const Scheme* SchemeMatcher::find(const ModuleName& module) const {
  const std::string target = targets_.best(module);
  if (target.empty() || ignore_.match(module)) return nullptr;
  for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
    const std::vector<std::string>& targets = group->second.targets;
    if (std::find(targets.begin(), targets.end(), target) != targets.end()) return &group->second;
  }
  return nullptr;
}

const Scheme* SchemeMatcher::find_by_name(const std::string& module) const {
  const std::string last = module.substr(module.rfind('.') + 1);
  const bool table = last.find("embed") != std::string::npos || last == "wte" || last == "wpe";
  const Scheme* scheme = find({module, table ? "Embedding" : "Linear"});
  return scheme ? scheme : find({module, table ? "Linear" : "Embedding"});
}

}  // namespace swage::scheme
