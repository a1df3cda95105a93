#include "swage/resolve/sparsity.h"

#include <algorithm>

#include "swage/base/error.h"
#include "swage/resolve/target_names.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {
namespace {

using modifiers::Sparsifier, modifiers::SparsityRules;

void check_prunable(const model::ModuleInfo& module, const Sparsifier& by, const model::Model& model) {
  SWAGE_CHECK(module.class_name == "Linear", Unsupported, module.name, ": ", by.name(),
              " prunes linear layers only; add it to ignore");
  SWAGE_CHECK(module.block >= 0 || module.is_head(), Unsupported, module.name,
              ": pruning a projection beside the embedding is not supported; add it to ignore");
  SWAGE_CHECK(module.block >= 0 || !model.tied_embeddings(), Unsupported, module.name,
              ": embedding and head of this model share one table, which stays as it is; add it to ignore");
  const int64_t group = by.rules().pattern.group;
  SWAGE_CHECK(group == 0 || module.columns % group == 0, InvalidArgument, module.name, ": ", module.columns,
              " columns do not split into groups of ", group, "; add it to ignore");
}

// What a modifier prunes, and for each the number of the target layer that it belongs to: that is what a list of shares
// counts.
struct Pruned {
  std::vector<model::ModuleInfo> modules;
  std::vector<size_t> layer;
  size_t layers = 0;
};

void warn_of_ignore(const Sparsifier& by, const std::vector<std::string>& ignored,
                    const std::vector<scheme::ModuleName>& names, std::vector<std::string>& warnings) {
  for (const std::string& pattern : scheme::Patterns(ignored).unmatched(names)) {
    warnings.push_back(cat(by.name(), ": ignore matches no module of this model: ", pattern));
  }
}

Pruned pruned_by(const Sparsifier& by, const model::Model& model, const std::string& attention_class,
                 std::vector<std::string>& warnings) {
  const SparsityRules& rules = by.rules();
  const std::vector<model::ModuleInfo> modules = model.modules();
  std::vector<scheme::ModuleName> names;
  for (const model::ModuleInfo& module : modules) names.push_back({module.name, module.class_name});
  const std::vector<std::string> ignored = graph::with_head_named(rules.ignore, modules);
  warn_of_ignore(by, ignored, names, warnings);
  const std::vector<std::string> wanted = without_words_for_all(rules.targets);
  const scheme::Patterns targets(wanted), ignore(ignored);
  const Containers containers(modules, attention_class);
  Pruned out;
  std::map<std::string, size_t> number;
  bool any = false;
  for (size_t i = 0; i < modules.size(); ++i) {
    const std::string layer = containers.target_of(modules[i], targets);
    any = any || !layer.empty();
    if (layer.empty() || !modules[i].quantizable || ignore.match(names[i])) continue;
    out.modules.push_back(modules[i]);
    out.layer.push_back(number.try_emplace(layer, number.size()).first->second);
  }
  out.layers = number.size();
  SWAGE_CHECK(any, InvalidArgument, by.name(),
              ": targets matches no module of this model: ", wanted.empty() ? "" : wanted[0]);
  SWAGE_CHECK(!out.modules.empty(), InvalidArgument, by.name(), ": ignore leaves nothing to prune");
  return out;
}

}  // namespace

const Sparsity::Choice* Sparsity::find(const std::string& module) const {
  const auto found = of_module.find(module);
  return found == of_module.end() ? nullptr : &found->second;
}

Sparsity resolve_sparsity(const modifiers::Chain& chain, const model::Model& model, const Assignment& assignment) {
  Sparsity out;
  for (const Sparsifier* by : chain.sparsifiers) {
    const Pruned pruned = pruned_by(*by, model, assignment.attention_class, out.warnings);
    const std::vector<model::ModuleInfo>& modules = pruned.modules;
    const SparsityRules& rules = by->rules();
    SWAGE_CHECK(rules.of_modules.empty() || rules.of_modules.size() == pruned.layers, InvalidArgument, by->name(),
                ": sparsity lists ", rules.of_modules.size(), " shares for ", pruned.layers, " modules");
    for (size_t i = 0; i < modules.size(); ++i) {
      check_prunable(modules[i], *by, model);
      solvers::SparsityPattern pattern = rules.pattern;
      if (!rules.of_modules.empty()) pattern.sparsity = rules.of_modules[pruned.layer[i]];
      const bool fresh = out.of_module.emplace(modules[i].name, Sparsity::Choice{by, pattern}).second;
      SWAGE_CHECK(fresh, InvalidArgument, modules[i].name,
                  ": two modifiers of the recipe would prune it; add it to the ignore of one");
      if (assignment.find(modules[i].name) == nullptr) out.rewritten.insert(modules[i].name + ".weight");
    }
  }
  return out;
}

std::string scheme_text(const Assignment& assignment, const Sparsity& sparsity, const std::string& module) {
  const auto scheme = assignment.scheme_of.find(module);
  const Sparsity::Choice* choice = sparsity.find(module);
  const std::string quantized = scheme == assignment.scheme_of.end() ? "" : assignment.scheme_names[scheme->second];
  if (choice == nullptr) return quantized;
  const std::string pruned = choice->by->rules().keeps_weights ? "zeros kept" : modifiers::describe(choice->pattern);
  return quantized.empty() ? pruned : quantized + ", " + pruned;
}

}  // namespace swage::pipeline
