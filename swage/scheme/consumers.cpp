#include "swage/scheme/consumers.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "swage/base/error.h"
#include "swage/scheme/consumers_json.h"

namespace swage::scheme {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::toupper(c)); });
  return text;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
  return text;
}

std::string version_of(const std::string& consumer) {
  for (const Json& one : consumer_matrix().at("consumers").as_array()) {
    if (one.get_string("name", "") == consumer) return cat(consumer, " ", one.get_string("version", ""));
  }
  return consumer;
}

std::string known_consumers() {
  std::string out;
  for (const Json& choice : consumer_matrix().at("choices").as_array())
    out += (out.empty() ? "" : ", ") + choice.get_string("for", "");
  return out;
}

bool orders_by_group(const std::string& actorder) { return actorder == "group" || actorder == "dynamic"; }

double capability_of(const Json& json, const char* key) {
  return std::strtod(json.get_string(key, "0").c_str(), nullptr);
}

}  // namespace

const Json& consumer_matrix() {
  static const Json matrix = parse_json(kConsumersJson, "consumers.json");
  return matrix;
}

const Json* consumers_of(const std::string& scheme) {
  for (const Json& one : consumer_matrix().at("schemes").as_array()) {
    if (one.get_string("scheme", "") == upper(scheme)) return &one;
  }
  return nullptr;
}

Consumer parse_consumer(const std::string& text) {
  const std::string wanted = lower(text), name = wanted.substr(0, wanted.find(':'));
  SWAGE_CHECK(name != "llama.cpp" && name != "llamacpp" && name != "ollama", Unsupported, text,
              ": reads GGUF, which swage does not write yet; known are ", known_consumers());
  for (const Json& choice : consumer_matrix().at("choices").as_array()) {
    if (choice.get_string("for", "") != wanted) continue;
    const size_t colon = wanted.find(':');
    return {name, colon == std::string::npos ? "" : wanted.substr(colon + 1), choice.get_string("scheme", ""),
            capability_of(choice, "capability")};
  }
  throw Error(ErrorKind::InvalidArgument, cat(text, ": known are ", known_consumers()));
}

void check_consumer(const Consumer& consumer, const std::string& scheme, const std::string& actorder) {
  if (orders_by_group(actorder)) {
    throw Error(ErrorKind::Unsupported,
                cat(consumer.name, ": ", consumer_matrix().at("actorder_group").get_string("note", ""),
                    "; use --actorder static"));
  }
  const Json* facts = consumers_of(scheme);
  if (facts == nullptr) return;
  SWAGE_CHECK(facts->get_string(consumer.name, "") != "refused", Unsupported, consumer.name, ": ",
              version_of(consumer.name), " does not take ", upper(scheme), ": ",
              facts->get_string(consumer.name + "_note", ""), "; use --scheme ", consumer.scheme);
  if (consumer.name != "vllm") return;
  SWAGE_CHECK(consumer.gpu != "cpu" || facts->get_bool("cpu", false), Unsupported, "vllm:cpu: ", version_of("vllm"),
              " has no CPU kernel for ", upper(scheme), "; use --scheme ", consumer.scheme);
  const double needed = capability_of(*facts, "gpu");
  SWAGE_CHECK(consumer.capability == 0 || needed <= consumer.capability, Unsupported, "vllm:", consumer.gpu, ": ",
              upper(scheme), " needs compute capability ", facts->get_string("gpu", ""), "; use --scheme ",
              consumer.scheme);
}

std::vector<std::string> consumer_warnings(const Scheme& scheme) {
  std::vector<std::string> out;
  if (!scheme.weights) return out;
  if (orders_groups(*scheme.weights))
    out.push_back(cat("actorder group: ", consumer_matrix().at("actorder_group").get_string("note", ""),
                      "; actorder static loads everywhere"));
  const bool packed_zero_points = !scheme.weights->symmetric && format_of(scheme) == "pack-quantized";
  if (packed_zero_points)
    out.push_back(cat("zero points: ", version_of("transformers"), " ",
                      consumers_of("W4A16_ASYM")->get_string("transformers_note", ""), "; vLLM loads them"));
  return out;
}

std::vector<std::string> family_warnings(const std::string& model_type, const Scheme& scheme,
                                         const std::vector<std::string>& modules) {
  const auto lists = [](const Json& fact, const char* key, const std::string& word) {
    const Json* list = fact.find(key);  // absent: any
    if (list == nullptr) return true;
    return std::ranges::any_of(list->as_array(), [&](const Json& one) { return one.as_string() == word; });
  };
  std::vector<std::string> out;
  for (const Json& fact : consumer_matrix().at("families").as_array()) {
    const std::string part = fact.get_string("modules", "");
    const auto concerned = [&](const std::string& module) { return module.find(part) != std::string::npos; };
    if (scheme.weights && lists(fact, "model_types", model_type) && lists(fact, "formats", format_of(scheme)) &&
        std::ranges::any_of(modules, concerned))
      out.push_back(cat(version_of("transformers"), " ", fact.get_string("note", "")));
  }
  return out;
}

}  // namespace swage::scheme
