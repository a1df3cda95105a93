#include "swage/modifiers/rescaler.h"

#include <ATen/ops/exp.h>
#include <ATen/ops/log.h>

#include "swage/base/error.h"

namespace swage::modifiers {
namespace {

std::vector<std::string> texts_of(const Json& value, const std::string& where) {
  if (value.is_string()) return {value.as_string()};
  SWAGE_CHECK(value.is_array() && !value.as_array().empty(), InvalidArgument, where, ": expected patterns of modules");
  std::vector<std::string> out;
  for (const Json& item : value.as_array()) {
    SWAGE_CHECK(item.is_string(), InvalidArgument, where, ": expected patterns of modules, found ", item.dump());
    out.push_back(item.as_string());
  }
  return out;
}

Mapping parse_mapping(const Json& mapping, const std::string& where) {
  const Json *smooth = nullptr, *balance = nullptr;
  if (mapping.is_object()) {
    smooth = mapping.find("smooth_layer");
    balance = mapping.find("balance_layers");
    for (const auto& [name, value] :
         mapping.as_object()) {  // LLM Compressor's hook says where it measures, not what it does
      SWAGE_CHECK(name == "smooth_layer" || name == "balance_layers" || name == "activation_hook_target",
                  InvalidArgument, where, ": ", name,
                  ": expected smooth_layer, balance_layers or activation_hook_target");
    }
  } else if (mapping.is_array() && mapping.as_array().size() == 2) {
    balance = &mapping.as_array()[0];
    smooth = &mapping.as_array()[1];
  }
  SWAGE_CHECK(smooth != nullptr && balance != nullptr, InvalidArgument, where,
              ": expected [balance_layers, smooth_layer] or an object with smooth_layer and balance_layers, found ",
              mapping.dump());
  const std::vector<std::string> one = texts_of(*smooth, where + ": smooth_layer");
  SWAGE_CHECK(one.size() == 1, InvalidArgument, where, ": smooth_layer: expected one pattern");
  return {one[0], texts_of(*balance, where + ": balance_layers")};
}

}  // namespace

std::vector<Mapping> parse_mappings(const Json& mappings, const std::string& source) {
  if (mappings.is_null()) return {};
  const std::string where = source + ": mappings";
  SWAGE_CHECK(mappings.is_array() && !mappings.as_array().empty(), InvalidArgument, where, ": expected a list");
  std::vector<Mapping> out;
  for (const Json& mapping : mappings.as_array()) out.push_back(parse_mapping(mapping, where));
  return out;
}

at::Tensor share_over_repeats(const at::Tensor& s_I, int64_t run, int64_t repeats) {
  if (repeats == 1) return s_I;
  const at::Tensor s_GRE = s_I.view({-1, repeats, run});
  return s_GRE.log().mean(1, true).exp().expand_as(s_GRE).reshape({-1});
}

}  // namespace swage::modifiers
