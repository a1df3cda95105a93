// Which module gets which scheme from which modifier: targets and ignore, matched against a model's modules.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "swage/model/model.h"
#include "swage/modifiers/chain.h"
#include "swage/scheme/quantization.h"
#include "swage/scheme/stored_groups.h"

namespace swage::pipeline {

// Schemes among which each module of one modifier gets one, so that all together keep to a size; see bit_budget.h.
struct BitBudget {
  const modifiers::Quantizer* quantizer = nullptr;
  size_t first = 0, count = 0;  // the candidates, in Assignment::schemes
};

struct Assignment {
  std::vector<scheme::Scheme> schemes;                  // group_0, group_1, ... with their formats
  std::vector<std::string> scheme_names;                // for reports: "W4A16 g64"
  std::vector<const modifiers::Quantizer*> quantizers;  // who rounds to each of them
  std::map<std::string, size_t> scheme_of;              // quantized module -> index into `schemes`
  std::vector<std::string> ignore;                      // for quantization_config: Linear modules left as they are
  std::optional<BitBudget> budget;  // until it is kept to, all of its modules have its last candidate
  std::optional<scheme::QuantizationArgs> kv_cache;
  std::optional<scheme::Scheme> attention;  // its input_activations are those of the queries; `kv_cache` is set as well
  std::vector<scheme::ModuleName> modules;  // all of the model
  std::string attention_class;              // see attention_class_of()
  std::vector<std::string> warnings;        // patterns of the recipe that match nothing

  const scheme::Scheme* find(const std::string& module) const;
  // Of a module that has a scheme.
  const modifiers::Quantizer& quantizer_of(const std::string& module) const {
    return *quantizers[scheme_of.at(module)];
  }
  // Whether scales of activations, queries or the KV cache have to be found on data.
  bool needs_calibration() const;
  // The schemes with weights as groups of quantization_config, in which every reader finds each module
  // (scheme/stored_groups.h).
  scheme::NamedSchemes groups() const;
};

// Error(InvalidArgument) for a modifier of whose targets none matches (others that match nothing are warnings), for
// modifiers that leave nothing to quantize, for a module that two of them would quantize, for a bit budget whose
// candidates make no sense, and for group sizes that do not divide a module's columns: that one says which size would.
// Error(Unsupported) for modules that cannot be quantized yet (embeddings, the head). `attention_class`: see
// attention_class_of().
Assignment assign_schemes(const modifiers::Chain& chain, const model::Model& model, const std::string& attention_class);
// The same for modules that no Model describes.
Assignment assign_schemes(const modifiers::Chain& chain, const std::vector<model::ModuleInfo>& modules,
                          bool tied_embeddings, const std::string& attention_class);
// How transformers calls the attention of a model: "LlamaAttention" where config.json's architectures say
// LlamaForCausalLM; empty if unknown.
std::string attention_class_of(const Json& config);

// Columns of the widest module that has a scheme: those of its Gram matrix. 0 without any.
int64_t widest_input(const Assignment& assignment, const std::vector<model::ModuleInfo>& modules);

}  // namespace swage::pipeline
