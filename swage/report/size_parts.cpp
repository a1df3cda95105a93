#include "swage/report/size_parts.h"

#include <array>
#include <map>
#include <string>
#include <string_view>

namespace swage::pipeline {
namespace {

enum class Where { Anywhere, AtEnd };

// How a module's name tells the part. The first that fits counts: an expert lies in an MLP, a norm of queries in the
// attention.
struct Sign {
  std::string_view text;
  Where where;
  const char* part;
};
constexpr Sign kSigns[] = {{"embed", Where::Anywhere, "embeddings"},
                           {"wte", Where::AtEnd, "embeddings"},
                           {"wpe", Where::AtEnd, "embeddings"},
                           {"lm_head", Where::AtEnd, "head"},
                           {"score", Where::AtEnd, "head"},
                           {".experts", Where::Anywhere, "experts"},
                           {"norm", Where::Anywhere, "norms"},
                           {".ln_1", Where::AtEnd, "norms"},
                           {".ln_2", Where::AtEnd, "norms"},
                           {"attn", Where::Anywhere, "attention"},
                           {"attention", Where::Anywhere, "attention"},
                           {"mlp", Where::Anywhere, "mlp"},
                           {"fc1", Where::Anywhere, "mlp"},
                           {"fc2", Where::Anywhere, "mlp"},
                           {"block_sparse_moe", Where::Anywhere, "mlp"},
                           {"feed_forward", Where::Anywhere, "mlp"}};

std::string part_of(std::string_view tensor) {
  const std::string_view module = tensor.substr(0, tensor.rfind('.'));
  for (const Sign& sign : kSigns) {
    if (sign.where == Where::AtEnd ? module.ends_with(sign.text) : module.find(sign.text) != module.npos)
      return sign.part;
  }
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
