// What targets of recipes name beside modules: containers of them ("model.layers.0", "LlamaDecoderLayer"), and words
// for all.
#pragma once
#include <string>
#include <vector>

#include "swage/graph/shape.h"
#include "swage/scheme/matching.h"

namespace swage::pipeline {

// LLM Compressor's old words for everything that can be pruned or quantized (__ALL__, __ALL_PRUNABLE__,
// __ALL_QUANTIZABLE__) as "Linear".
std::vector<std::string> without_words_for_all(std::vector<std::string> targets);

// Modules and what holds them. `attention_class` ("LlamaAttention") tells how classes begin; empty: containers have
// names only.
class Containers {
 public:
  Containers(const std::vector<graph::ModuleInfo>& modules, std::string attention_class);

  // The outermost container that a target names, or the module itself; empty if none does.
  std::string target_of(const graph::ModuleInfo& module, const scheme::Patterns& targets) const;
  // `targets`, but the names of all linears in their containers for those that name containers only.
  std::vector<std::string> expanded(const std::vector<std::string>& targets) const;

 private:
  std::vector<scheme::ModuleName> holders_of(const std::string& module) const;  // outermost first

  const std::vector<graph::ModuleInfo>& modules_;
  std::string class_prefix_;
};

}  // namespace swage::pipeline
