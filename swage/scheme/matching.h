// Which modules a target or ignore string names. A string is an exact module name, the name of a module class
// ("Linear"), or "re:" and a regular expression matched from the start of the module's name, not to its end.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/scheme/quantization.h"

namespace swage::scheme {

struct ModuleName {
  std::string name;  // "model.layers.0.mlp.down_proj", without ".weight"
  std::string class_name = "Linear";
};

// Strings compiled once, matched often. Thread-safe after construction.
class Patterns {
 public:
  // Error(InvalidArgument) naming an expression that does not compile. Expressions are Perl's (PCRE2), which Python's
  // agree with in all that names of modules ask for: lookahead and lookbehind, named groups, inline flags, back
  // references.
  explicit Patterns(std::vector<std::string> texts);
  ~Patterns();
  Patterns(Patterns&&) noexcept;

  // This and the next two: Error(InvalidArgument) for an expression that takes too long for a name, or for all that do
  // together.
  bool match(const ModuleName& module) const;
  // The string that counts where several match: exact names first, then expressions, then classes, each in alphabetic
  // order, as in compressed-tensors. Empty if none does.
  std::string best(const ModuleName& module) const;
  // Those that match none of `modules`, in the order given.
  std::vector<std::string> unmatched(const std::vector<ModuleName>& modules) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

// Finds the scheme of a module among groups of schemes.
class SchemeMatcher {
 public:
  // Named groups as in quantization_config; where two have the same target, the later one counts.
  SchemeMatcher(std::vector<std::pair<std::string, Scheme>> groups, std::vector<std::string> ignore);

  // nullptr if no target matches or the module is ignored. Valid while this lives.
  const Scheme* find(const ModuleName& module) const;
  // The same for a module of a checkpoint, which does not tell classes: what is quantized is a Linear or an Embedding,
  // and the latter is known by its name where both are targets.
  const Scheme* find_by_name(const std::string& module) const;

 private:
  std::vector<std::pair<std::string, Scheme>> groups_;
  Patterns targets_;
  Patterns ignore_;
};

}  // namespace swage::scheme
