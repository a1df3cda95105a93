#include "swage/report/size_parts.h"

#include <array>
#include <map>
#include <string>
#include <string_view>

namespace swage::pipeline {
namespace {

bool has(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

// Names that are matched first come first: an expert lies in an MLP, a norm of queries in the attention.
std::string part_of(std::string_view tensor) {
  const std::string_view module = tensor.substr(0, tensor.rfind('.'));
  if (has(module, "embed") || module.ends_with("wte") || module.ends_with("wpe")) return "embeddings";
  if (module.ends_with("lm_head") || module.ends_with("score")) return "head";
  if (has(module, ".experts")) return "experts";
  if (has(module, "norm") || module.ends_with(".ln_1") || module.ends_with(".ln_2")) return "norms";
  if (has(module, "attn") || has(module, "attention")) return "attention";
  if (has(module, "mlp") || has(module, "fc1") || has(module, "fc2") || has(module, "block_sparse_moe") ||
      has(module, "feed_forward"))
    return "mlp";
  return "other";
}

}  // namespace

Json size_parts(const std::vector<io::TensorSpec>& tensors) {
  constexpr std::array<const char*, 7> kOrder = {"embeddings", "attention", "mlp", "experts", "norms", "other", "head"};
  std::map<std::string, uint64_t> bytes;
  for (const io::TensorSpec& spec : tensors) bytes[part_of(spec.name)] += io::data_bytes(spec);
  Json out = Json::array();
  for (const char* part : kOrder) {
    if (bytes[part] == 0) continue;
    Json one = Json::object();
    one.set("part", part);
    one.set("bytes", bytes[part]);
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace swage::pipeline
