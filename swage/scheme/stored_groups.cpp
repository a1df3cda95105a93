#include "swage/scheme/stored_groups.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

// One target of a group; in the order in which they are stored, which both rules follow.
struct Entry {
  int kind = 0;  // 0: an exact name, 1: an expression, 2: a class
  size_t group = 0;
  std::string target;

  auto key() const { return kind == 1 ? std::tuple(kind, size_t{0}, target) : std::tuple(kind, group, target); }
};

// The group that compressed-tensors takes: where two groups have the same target, the later one.
int64_t group_by_priority(const NamedSchemes& groups, const Patterns& targets, const ModuleName& module) {
  const std::string target = targets.best(module);
  for (size_t i = groups.size(); !target.empty() && i-- > 0;) {
    const std::vector<std::string>& of_group = groups[i].second.targets;
    if (std::find(of_group.begin(), of_group.end(), target) != of_group.end()) return int64_t(i);
  }
  return -1;
}

Patterns all_targets_of(const NamedSchemes& groups) {
  std::vector<std::string> targets;
  for (const auto& [name, scheme] : groups) targets.insert(targets.end(), scheme.targets.begin(), scheme.targets.end());
  return Patterns(std::move(targets));
}

bool stores_alike(Scheme a, const Scheme& b) {
  a.targets = b.targets;
  return a == b;
}

// Modules that some rule would give another group than the wanted one.
std::vector<const ModuleName*> misread(const NamedSchemes& groups, const std::vector<ModuleName>& modules,
                                       const std::map<std::string, size_t>& wanted) {
  const Patterns targets = all_targets_of(groups);
  const FirstMatcher first(groups);
  std::vector<const ModuleName*> out;
  for (const ModuleName& module : modules) {
    const auto found = wanted.find(module.name);
    if (found == wanted.end()) continue;
    const Scheme& scheme = groups[found->second].second;
    const auto reads_it = [&](int64_t group) {
      return group >= 0 && (size_t(group) == found->second || stores_alike(groups[size_t(group)].second, scheme));
    };
    if (!reads_it(group_by_priority(groups, targets, module)) || !reads_it(first.find(module))) out.push_back(&module);
  }
  return out;
}

// Each target once, with the group that the later one of its name has.
std::vector<Entry> entries_of(const NamedSchemes& groups, const std::set<std::string>& classes) {
  std::map<std::string, size_t> group_of;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const std::string& target : groups[i].second.targets) group_of[target] = i;
  }
  std::vector<Entry> out;
  for (const auto& [target, group] : group_of)
    out.push_back({target.starts_with("re:") ? 1 : classes.contains(target) ? 2 : 0, group, target});
  return out;
}

// `of_group`: for each new group, the one that it has the scheme of.
NamedSchemes groups_of(std::vector<Entry> entries, const NamedSchemes& groups, std::vector<size_t>& of_group) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.key() < b.key(); });
  NamedSchemes out;
  of_group.clear();
  for (const Entry& entry : entries) {
    if (out.empty() || of_group.back() != entry.group) {
      out.emplace_back(cat("group_", out.size()), groups[entry.group].second);
      out.back().second.targets.clear();
      of_group.push_back(entry.group);
    }
    out.back().second.targets.push_back(entry.target);
  }
  return out;
}

// The wanted groups by their new numbers: of several with one scheme the first, as what they hold is the same.
std::map<std::string, size_t> renumbered(const std::map<std::string, size_t>& wanted,
                                         const std::vector<size_t>& of_group) {
  std::map<std::string, size_t> out;
  for (const auto& [module, group] : wanted) {
    const auto found = std::find(of_group.begin(), of_group.end(), group);
    if (found != of_group.end()) out[module] = size_t(found - of_group.begin());
  }
  return out;
}

}  // namespace

FirstMatcher::FirstMatcher(const NamedSchemes& groups) {
  for (const auto& [name, scheme] : groups) targets_.emplace_back(scheme.targets);
}

int64_t FirstMatcher::find(const ModuleName& module) const {
  for (const bool by_class : {false, true}) {
    const ModuleName asked = by_class ? module : ModuleName{module.name, ""};
    for (size_t i = 0; i < targets_.size(); ++i) {
      if (targets_[i].match(asked)) return int64_t(i);
    }
  }
  return -1;
}

NamedSchemes stored_groups(NamedSchemes groups, const std::vector<ModuleName>& modules,
                           const std::map<std::string, size_t>& wanted) {
  if (misread(groups, modules, wanted).empty()) return groups;
  std::set<std::string> classes;
  for (const ModuleName& module : modules) classes.insert(module.class_name);
  std::vector<Entry> entries = entries_of(groups, classes);
  std::vector<size_t> of_group;
  NamedSchemes out = groups_of(entries, groups, of_group);
  // A target that two groups have for modules of their own stands in the later one only, so that the other may have
  // none left.
  for (const auto& [module, group] : wanted) {
    if (std::find(of_group.begin(), of_group.end(), group) == of_group.end()) entries.push_back({0, group, module});
  }
  out = groups_of(entries, groups, of_group);
  for (const ModuleName* module : misread(out, modules, renumbered(wanted, of_group)))
    entries.push_back({0, wanted.at(module->name), module->name});
  return groups_of(entries, groups, of_group);
}

}  // namespace swage::scheme
