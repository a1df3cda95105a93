#include "swage/scheme/matching.h"

#include <algorithm>
#include <regex>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
// Bounds on what comes from a file: std::regex recurses into the expression.
constexpr size_t kMaxExpression = 1000, kMaxName = 4096;

bool is_regex(std::string_view text) { return text.substr(0, kRegexPrefix.size()) == kRegexPrefix; }

std::regex compile(const std::string& text) {
  SWAGE_CHECK(text.size() <= kMaxExpression, InvalidArgument, "pattern of ", text.size(), " characters, at most ", kMaxExpression, ": ",
              text.substr(0, 60), "...");
  try {
#ifdef __GLIBCXX__
    // Matching time stays a product of the lengths of name and expression: no expression can hang a run.
    return std::regex(text.substr(kRegexPrefix.size()), std::regex::ECMAScript | std::regex_constants::__polynomial);
#else
    return std::regex(text.substr(kRegexPrefix.size()), std::regex::ECMAScript);
#endif
  } catch (const std::regex_error& error) {
    throw Error(ErrorKind::InvalidArgument, cat("pattern \"", text, "\" is not a regular expression: ", error.what()));
  }
}

}  // namespace

struct Patterns::State {
  struct Pattern {
    std::string text;
    std::unique_ptr<const std::regex> regex;  // none: an exact or a class name

    bool matches_name(const std::string& name) const {
      if (!regex) return text == name;
      return name.size() <= kMaxName && std::regex_search(name, *regex, std::regex_constants::match_continuous);
    }
  };
  std::vector<std::string> texts;  // as given
  std::vector<Pattern> patterns;   // sorted: names and classes, then expressions, alphabetically
};

Patterns::Patterns(std::vector<std::string> texts) {
  auto state = std::make_unique<State>();
  for (const std::string& text : texts) {
    state->patterns.push_back({text, is_regex(text) ? std::make_unique<const std::regex>(compile(text)) : nullptr});
  }
  std::stable_sort(state->patterns.begin(), state->patterns.end(), [](const State::Pattern& a, const State::Pattern& b) {
    return std::pair(bool(a.regex), std::string_view(a.text)) < std::pair(bool(b.regex), std::string_view(b.text));
  });
  state->texts = std::move(texts);
  state_ = std::move(state);
}

Patterns::~Patterns() = default;
Patterns::Patterns(Patterns&&) noexcept = default;

std::string Patterns::best(const ModuleName& module) const {
  for (const State::Pattern& pattern : state_->patterns) {
    if (pattern.matches_name(module.name)) return pattern.text;
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
      return pattern.matches_name(module.name) || (!pattern.regex && pattern.text == module.class_name);
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
