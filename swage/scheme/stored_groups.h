// Groups of a quantization_config in which every reader finds for each module the scheme it was stored with. Readers
// disagree where targets overlap: compressed-tensors asks for exact names, then expressions in alphabetic order, then
// classes, whatever their groups; vLLM takes the first group in which a name or an expression fits, then the first with
// the class.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "swage/scheme/matching.h"

namespace swage::scheme {

using NamedSchemes = std::vector<std::pair<std::string, Scheme>>;  // in the order of the file

// vLLM's rule, as an index into the groups it was made of; -1 if no target fits.
class FirstMatcher {
 public:
  explicit FirstMatcher(const NamedSchemes& groups);
  int64_t find(const ModuleName& module) const;

 private:
  std::vector<Patterns> targets_;  // of each group
};

// `groups` as they are if both rules find in them, for every one of `modules`, what `wanted` says: the index of its
// group, nothing for one that `ignore` of the file names. Else groups of the same schemes, named group_0, group_1, ...,
// with targets in the order in which the first rule asks, so that both agree, and exact names before them for modules
// that no order would do.
NamedSchemes stored_groups(NamedSchemes groups, const std::vector<ModuleName>& modules,
                           const std::map<std::string, size_t>& wanted);

}  // namespace swage::scheme
