// Which modules of a model the recipe's sparsifiers prune, how far, and what that means for the output.
#pragma once
#include <map>
#include <set>
#include <string>

#include "swage/model/model.h"
#include "swage/modifiers/chain.h"
#include "swage/resolve/assignment.h"

namespace swage::pipeline {

struct Sparsity {
  struct Choice {
    const modifiers::Sparsifier* by;
    solvers::SparsityPattern pattern;
  };
  std::map<std::string, Choice> of_module;
  std::set<std::string> rewritten;    // weights of those modules that stay dense: name, type and shape are the source's
  std::vector<std::string> warnings;  // patterns of the recipe that match nothing

  const Choice* find(const std::string& module) const;
};

// Error(InvalidArgument) for a modifier of whose targets none matches a module or a container of modules, a module that
// two modifiers would prune, a list of shares of another length, columns that groups of N:M do not divide.
// Error(Unsupported) for an embedding and for a head that shares its table.
Sparsity resolve_sparsity(const modifiers::Chain& chain, const model::Model& model, const Assignment& assignment);

// "W4A16 g64, 2:4", "2:4": what happens to a module, for reports.
std::string scheme_text(const Assignment& assignment, const Sparsity& sparsity, const std::string& module);

}  // namespace swage::pipeline
