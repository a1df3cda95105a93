// What is done to a model, as options: a recipe file, or one method with its fields. For every command that takes them.
#pragma once
#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/swage.h"

namespace swage::cli {

// A field of some modifier as a command line option: --dampening-frac for dampening_frac.
struct FieldOption {
  std::string help;
  std::string methods;                                        // "gptq, rtn"
  std::vector<std::pair<std::string, std::string>> defaults;  // by method
  bool is_list = false, has_commas = false;
  std::string alone;  // what the option means without a value; empty: it has one
  std::vector<std::string> given;
  std::function<Json(const std::string&)> parse;
};

struct RecipeOptions {
  std::vector<std::string> order;
  std::map<std::string, FieldOption> by_name;

  // This and `choice` must outlive `command`.
  void add_to(CLI::App& command, RecipeChoice& choice);
  // Puts into `choice` what was given on the command line, as the fields of a modifier; without a recipe also what the
  // program takes where nothing is said. Error(InvalidArgument) for a value that makes no sense.
  void take(RecipeChoice& choice) const;
};

}  // namespace swage::cli
