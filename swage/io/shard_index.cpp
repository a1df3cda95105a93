#include "swage/io/shard_index.h"

#include <algorithm>
#include <cstdio>

#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/io/tensor_spec.h"

namespace swage::io {
namespace {

constexpr int kMaxDepth = 16;  // "metadata" may hold anything reasonable

void check_shard_name(const std::string& tensor, const std::string& shard, std::string_view source) {
  const bool steps_out =
      std::any_of(shard.begin(), shard.end(), [](char c) { return c == '/' || c == '\\' || c == '\0'; });
  const bool plain = !steps_out && !shard.starts_with('.');
  SWAGE_CHECK(plain && shard.ends_with(".safetensors"), CorruptData, source, ": tensor ", quoted(tensor),
              " is said to be in ", quoted(shard), ", expected the name of a .safetensors file in the same folder");
}

}  // namespace

ShardIndex parse_shard_index(std::string_view text, std::string_view source) {
  SWAGE_CHECK(text.find('\0') == text.npos, CorruptData, source, ": the index holds a zero byte");
  const Json json = parse_json(text, source, {.max_depth = kMaxDepth});
  ShardIndex index;
  try {
    for (const auto& [tensor, shard] : json.at("weight_map").as_object()) {
      SWAGE_CHECK(shard.is_string(), CorruptData, "the shard of tensor ", quoted(tensor), " is not a string");
      index.weight_map.emplace_back(tensor, shard.as_string());
    }
  } catch (Error& e) {
    e.add_context(source);
    throw;
  }
  for (const auto& [tensor, shard] : index.weight_map) check_shard_name(tensor, shard, source);
  SWAGE_CHECK(!index.weight_map.empty(), CorruptData, source, ": weight_map is empty");
  return index;
}

std::string shard_index_text(const ShardIndex& index, uint64_t total_size) {
  Json::Object weight_map;
  for (const auto& [tensor, shard] : index.weight_map) weight_map.emplace_back(tensor, shard);
  Json json;
  json.set("metadata", Json(Json::Object{{"total_size", total_size}}));
  json.set("weight_map", std::move(weight_map));
  return json.sorted().dump(2) + "\n";
}

std::string shard_name(size_t number, size_t count) {
  if (count == 1) return std::string(kSingleFileName);
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", number, count);
  return name;
}

}  // namespace swage::io
