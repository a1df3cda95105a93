#include "swage/resolve/target_names.h"

#include <algorithm>
#include <array>

namespace swage::pipeline {
namespace {

constexpr std::array<std::string_view, 3> kWordsForAll = {"__ALL__", "__ALL_PRUNABLE__", "__ALL_QUANTIZABLE__"};

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

// What transformers calls the class of a container with this last part of its name; empty if it is not known.
std::string class_of(std::string_view last, const std::string& prefix) {
  if (prefix.empty()) return {};
  if (is_number(last)) return prefix + "DecoderLayer";
  if (last == "self_attn" || last == "attention" || last == "attn") return prefix + "Attention";
  return last == "mlp" ? prefix + "MLP" : std::string();
}

}  // namespace

std::vector<std::string> without_words_for_all(std::vector<std::string> targets) {
  for (std::string& target : targets) {
    if (std::find(kWordsForAll.begin(), kWordsForAll.end(), target) != kWordsForAll.end()) target = "Linear";
  }
  return targets;
}

Containers::Containers(const std::vector<graph::ModuleInfo>& modules, std::string attention_class)
    : modules_(modules),
      class_prefix_(std::move(attention_class)) {
  constexpr std::string_view kEnd = "Attention";
  class_prefix_.resize(class_prefix_.ends_with(kEnd) ? class_prefix_.size() - kEnd.size() : 0);
}

std::vector<scheme::ModuleName> Containers::holders_of(const std::string& module) const {
  std::vector<scheme::ModuleName> out;
  for (size_t dot = module.find('.'); dot != std::string::npos; dot = module.find('.', dot + 1)) {
    const std::string name = module.substr(0, dot);
    out.push_back({name, class_of(std::string_view(name).substr(name.rfind('.') + 1), class_prefix_)});
  }
  return out;
}

std::string Containers::target_of(const graph::ModuleInfo& module, const scheme::Patterns& targets) const {
  for (const scheme::ModuleName& holder : holders_of(module.name)) {
    if (targets.match(holder)) return holder.name;
  }
  return targets.match({module.name, module.class_name}) ? module.name : std::string();
}

std::vector<std::string> Containers::expanded(const std::vector<std::string>& targets) const {
  std::vector<std::string> out;
  for (const std::string& target : targets) {
    const scheme::Patterns pattern({target});
    const auto names_it = [&](const graph::ModuleInfo& module) {
      return pattern.match({module.name, module.class_name});
    };
    const size_t before = out.size();
    if (std::none_of(modules_.begin(), modules_.end(), names_it)) {
      for (const graph::ModuleInfo& module : modules_) {
        if (module.class_name == "Linear" && module.quantizable && !target_of(module, pattern).empty())
          out.push_back(module.name);
      }
    }
    if (out.size() == before) out.push_back(target);
  }
  return out;
}

}  // namespace swage::pipeline
