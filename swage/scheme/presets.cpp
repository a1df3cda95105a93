#include "swage/scheme/presets.h"

#include <algorithm>
#include <array>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

QuantizationArgs grouped_int(int bits, bool symmetric) {
  QuantizationArgs args;
  args.num_bits = bits;
  args.symmetric = symmetric;
  args.strategy = Strategy::Group;
  args.group_size = 128;
  return args;
}

QuantizationArgs eight_bits(NumberType type, Strategy strategy, Dynamic dynamic) {
  QuantizationArgs args;
  args.type = type;
  args.strategy = strategy;
  args.dynamic = dynamic;
  return args;
}

Scheme weight_only(QuantizationArgs weights) {
  Scheme scheme;
  scheme.weights = std::move(weights);
  return scheme;
}

// One scale a row for weights, one a token for activations, both of 8 bits.
Scheme eight_by_eight(NumberType type) {
  Scheme scheme = weight_only(eight_bits(type, Strategy::Channel, Dynamic::No));
  scheme.input_activations = eight_bits(type, Strategy::Token, Dynamic::Yes);
  return scheme;
}

struct Preset {
  std::string_view name;
  Scheme (*make)();
};

constexpr std::array<Preset, 6> kPresets = {{
    {"W4A16", [] { return weight_only(grouped_int(4, true)); }},
    {"W4A16_ASYM", [] { return weight_only(grouped_int(4, false)); }},
    {"W8A16", [] { return weight_only(grouped_int(8, true)); }},
    {"W8A8", [] { return eight_by_eight(NumberType::Int); }},
    {"INT8", [] { return eight_by_eight(NumberType::Int); }},
    {"FP8_DYNAMIC", [] { return eight_by_eight(NumberType::Float); }},
}};

// Presets of compressed-tensors 0.20 that swage does not have.
constexpr std::string_view kOthers[] = {"UNQUANTIZED", "W4AFP8",  "FP8",      "FP8_BLOCK", "NVFP4A16", "NVFP4", "MXFP4A16", "MXFP4", "MXFP4XFP8",
                                        "MXFP6A16",    "MXFP6A8", "MXFP8A16", "MXFP8",     "W2A4",     "W2A8",  "W2A16",    "W3A4",  "W3A8",
                                        "W3A16",       "W4A4",    "W4A8",     "W5A8",      "W5A16",    "W6A8",  "W6A16",    "W7A8",  "W7A16"};

std::string upper_case(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) c = c >= 'a' && c <= 'z' ? char(c - 'a' + 'A') : c;
  return upper;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

bool is_integer_weight_only(const Scheme& scheme) {
  return scheme.weights && scheme.weights->type == NumberType::Int && !scheme.input_activations && !scheme.output_activations;
}

}  // namespace

Scheme preset(std::string_view name) {
  const std::string upper = upper_case(name);
  for (const Preset& known : kPresets) {
    if (known.name == upper) return known.make();
  }
  const bool other = std::find(std::begin(kOthers), std::end(kOthers), upper) != std::end(kOthers);
  SWAGE_CHECK(!other, Unsupported, "scheme ", upper, " is not supported; supported: ", joined(preset_names()));
  throw Error(ErrorKind::InvalidArgument, cat("unknown scheme \"", name, "\"; known: ", joined(preset_names())));
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& known : kPresets) names.emplace_back(known.name);
  return names;
}

Scheme with_group_size(Scheme scheme, int64_t group_size) {
  SWAGE_CHECK(group_size > 0 || group_size == -1, InvalidArgument, "group size ", group_size,
              ": expected a positive number, or -1 for one scale a row");
  SWAGE_CHECK(is_integer_weight_only(scheme), InvalidArgument, "group size ", group_size,
              ": only schemes that quantize integer weights alone have groups");
  scheme.weights->strategy = group_size > 0 ? Strategy::Group : Strategy::Channel;
  scheme.weights->group_size = group_size > 0 ? std::optional(group_size) : std::nullopt;
  return scheme;
}

Scheme with_symmetric(Scheme scheme, bool symmetric) {
  SWAGE_CHECK(symmetric || is_integer_weight_only(scheme), InvalidArgument,
              "asymmetric: only schemes that quantize integer weights alone can have zero points");
  if (scheme.weights) scheme.weights->symmetric = symmetric;
  return scheme;
}

}  // namespace swage::scheme
