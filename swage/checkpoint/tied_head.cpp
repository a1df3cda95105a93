#include "swage/checkpoint/tied_head.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "swage/base/error.h"

namespace swage::checkpoint {
namespace {

constexpr const char* kKey = "tie_word_embeddings";

bool ends_with_one_of(std::string_view name, const std::array<std::string_view, 3>& endings) {
  return std::any_of(endings.begin(), endings.end(), [&](std::string_view end) {
    return name.ends_with(end) && (name.size() == end.size() || name[name.size() - end.size() - 1] == '.');
  });
}

// Architectures whose config class ties where config.json says nothing.
bool ties_by_default(const Json& config) {
  constexpr std::array<std::string_view, 8> kTypes = {"opt",         "smollm3", "gemma", "gemma2",
                                                      "gemma3_text", "gpt2",    "bloom", "cohere"};
  const Json* type = config.find("model_type");
  return type != nullptr && type->is_string() &&
         std::find(kTypes.begin(), kTypes.end(), type->as_string()) != kTypes.end();
}

// Where it is no boolean, those who build the model of it say so.
bool says_tied(const Json& config) {
  const auto flag = [](const Json& object, bool fallback) {
    const Json* value = object.find(kKey);
    return value != nullptr && value->is_bool() ? value->as_bool() : fallback;
  };
  const Json* text = config.find("text_config");
  return flag(config, (text != nullptr && flag(*text, false)) || ties_by_default(config));
}

bool equal_tables(const io::TensorStore& files, const io::TensorSpec& a, const io::TensorSpec& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  const bool same = files.bytes(a.name) == files.bytes(b.name);
  for (const io::TensorSpec* spec : {&a, &b}) files.drop(spec->name);
  return same;
}

}  // namespace

TiedHead find_tied_head(const Json& config, const io::TensorStore& files) {
  TiedHead out;
  if (!says_tied(config)) return out;
  const io::TensorSpec *embedding = nullptr, *head = nullptr, *part = nullptr;
  for (const io::TensorSpec& spec : files.tensors()) {
    if (ends_with_one_of(spec.name, {"embed_tokens.weight", "wte.weight", "word_embeddings.weight"}))
      embedding = embedding == nullptr ? &spec : embedding;
    if (spec.name == "lm_head.weight" || spec.name.ends_with(".lm_head.weight")) head = &spec;
    if (ends_with_one_of(spec.name, {"lm_head.weight_packed", "lm_head.weight_scale", "lm_head.qweight"})) part = &spec;
  }
  if (embedding == nullptr || (head == nullptr && part == nullptr)) return out;
  if (part == nullptr && equal_tables(files, *embedding, *head)) {
    out.same = head->name;
    return out;
  }
  out.differs = true;
  out.warning = cat("config.json says ", kKey, ": true, but ", part != nullptr ? part->name : head->name,
                    " is stored and is not ", embedding->name, ": the stored head is used, and the model is not tied");
  return out;
}

void untie(Json& config) {
  config.set(kKey, false);
  const Json* text = config.find("text_config");
  if (text == nullptr || !text->is_object() || text->find(kKey) == nullptr) return;
  Json untied = *text;
  untied.set(kKey, false);
  config.set("text_config", std::move(untied));
}

}  // namespace swage::checkpoint
