#include <algorithm>

#include "swage/scheme/consumers.h"
#include "swage/scheme/presets.h"
#include "swage/swage.h"

namespace swage {
namespace {

constexpr double kScaleBits = 16, kNarrowScaleBits = 8, kZeroPointShare = 1;

// Bits a weight of wide layers, scales and zero points included; those of a row or of the tensor come to nothing.
double bits_of(const scheme::QuantizationArgs& weights) {
  const bool grouped = weights.group_size.has_value() && *weights.group_size > 0;
  if (!grouped) return weights.num_bits;
  const double scale = weights.scale_dtype ? kNarrowScaleBits : kScaleBits;
  const double zero_point = weights.symmetric ? 0 : kZeroPointShare * weights.num_bits;
  return weights.num_bits + (scale + zero_point) / double(*weights.group_size);
}

std::string activations_of(const scheme::Scheme& preset) {
  if (!preset.input_activations) return "16 bits";
  const scheme::QuantizationArgs& inputs = *preset.input_activations;
  return cat(inputs.type == scheme::NumberType::Float ? "fp" : "int", inputs.num_bits,
             inputs.dynamic == scheme::Dynamic::No ? ", static" : ", dynamic");
}

Json preset_facts(const std::string& name) {
  const scheme::Scheme preset = scheme::preset(name);
  Json out = Json::object();
  out.set("scheme", name);
  out.set("bits", preset.weights ? bits_of(*preset.weights) : 16.0);
  if (preset.weights && preset.weights->group_size) out.set("group_size", *preset.weights->group_size);
  out.set("activations", activations_of(preset));
  out.set("format", scheme::format_of(preset));
  const Json* known = scheme::consumers_of(name);
  if (known == nullptr) return out;
  Json consumers = Json::object();
  for (const char* key : {"transformers", "vllm", "gpu", "cpu"}) {
    if (const Json* value = known->find(key)) consumers.set(key, *value);
  }
  out.set("consumers", std::move(consumers));
  if (known->find("perplexity") == nullptr) return out;
  Json loss = Json::object();
  const double before = scheme::consumer_matrix().get_double("source_perplexity", 0),
               after = known->get_double("perplexity", 0);
  loss.set("model", scheme::consumer_matrix().get_string("model", ""));
  loss.set("source_perplexity", before);
  loss.set("perplexity", after);
  loss.set("kl", known->get_double("kl", 0));
  out.set("loss", std::move(loss));
  return out;
}

}  // namespace

Json schemes() {
  Json out = Json::object(), presets = Json::array();
  for (const std::string& name : scheme::preset_names()) {
    if (name != "UNQUANTIZED") presets.push_back(preset_facts(name));
  }
  out.set("date", scheme::consumer_matrix().get_string("date", ""));
  out.set("consumers", scheme::consumer_matrix().at("consumers"));
  out.set("presets", std::move(presets));
  return out;
}

std::string scheme_for(const std::string& reader, const std::string& preset, const std::string& actorder) {
  const scheme::Consumer consumer = scheme::parse_consumer(reader);
  const std::string chosen = preset.empty() ? consumer.scheme : preset;
  scheme::check_consumer(consumer, chosen, actorder);
  return chosen;
}

}  // namespace swage
