#include "swage/scheme/presets.h"

#include "swage/base/error.h"
#include "swage/base/fields.h"

namespace swage::scheme {
namespace {

QuantizationArgs grouped(NumberType type, int bits, int64_t group_size) {
  QuantizationArgs args;
  args.type = type;
  args.num_bits = bits;
  args.strategy = Strategy::Group;
  args.group_size = group_size;
  return args;
}

QuantizationArgs grouped_int(int bits, bool symmetric = true) {
  QuantizationArgs args = grouped(NumberType::Int, bits, 128);
  args.symmetric = symmetric;
  return args;
}

// One scale for each of what `strategy` names.
QuantizationArgs plain(NumberType type, int bits, Strategy strategy, Dynamic dynamic = Dynamic::No) {
  QuantizationArgs args;
  args.type = type;
  args.num_bits = bits;
  args.strategy = strategy;
  args.dynamic = dynamic;
  return args;
}

QuantizationArgs tokens(NumberType type, int bits) { return plain(type, bits, Strategy::Token, Dynamic::Yes); }

// Floats under power-of-two scales of 32 columns.
QuantizationArgs mx(int bits) {
  QuantizationArgs args = grouped(NumberType::Float, bits, 32);
  args.scale_dtype = "torch.uint8";
  return args;
}

// FP4 under FP8 scales of 16 columns under one scale of the tensor.
QuantizationArgs nvfp4() {
  QuantizationArgs args = grouped(NumberType::Float, 4, 16);
  args.strategy = Strategy::TensorGroup;
  args.scale_dtype = "torch.float8_e4m3fn";
  return args;
}

QuantizationArgs observed(QuantizationArgs args) {
  args.observer = "static_minmax";
  return args;
}

QuantizationArgs at_run_time(QuantizationArgs args, Dynamic dynamic = Dynamic::Yes) {
  args.dynamic = dynamic;
  return args;
}

Scheme weight_only(QuantizationArgs weights) {
  Scheme scheme;
  scheme.weights = std::move(weights);
  return scheme;
}

Scheme with_inputs(QuantizationArgs weights, QuantizationArgs inputs) {
  Scheme scheme = weight_only(std::move(weights));
  scheme.input_activations = std::move(inputs);
  return scheme;
}

Scheme int8() { return with_inputs(plain(NumberType::Int, 8, Strategy::Channel), tokens(NumberType::Int, 8)); }

Scheme fp8_blocks() {
  QuantizationArgs weights = plain(NumberType::Float, 8, Strategy::Block);
  weights.block_structure = std::pair<int64_t, int64_t>(128, 128);
  return with_inputs(std::move(weights), at_run_time(grouped(NumberType::Float, 8, 128)));
}

template <int kBits, int kInputBits>
Scheme integers() {
  if (kInputBits == 16) return weight_only(grouped_int(kBits));
  return with_inputs(grouped_int(kBits), tokens(NumberType::Int, kInputBits));
}

struct Preset {
  std::string_view name;
  Scheme (*make)();
};

// As in compressed-tensors 0.20.
constexpr Preset kPresets[] = {
    {"W4A16", integers<4, 16>},
    {"W4A16_ASYM", [] { return weight_only(grouped_int(4, false)); }},
    {"W8A16", integers<8, 16>},
    {"W8A8", int8},
    {"INT8", int8},
    {"FP8",
     [] {
       return with_inputs(plain(NumberType::Float, 8, Strategy::Tensor),
                          observed(plain(NumberType::Float, 8, Strategy::Tensor)));
     }},
    {"FP8_DYNAMIC",
     [] { return with_inputs(plain(NumberType::Float, 8, Strategy::Channel), tokens(NumberType::Float, 8)); }},
    {"FP8_BLOCK", fp8_blocks},
    {"NVFP4", [] { return with_inputs(nvfp4(), observed(at_run_time(nvfp4(), Dynamic::Local))); }},
    {"NVFP4A16", [] { return weight_only(nvfp4()); }},
    {"MXFP4", [] { return with_inputs(mx(4), at_run_time(mx(4))); }},
    {"MXFP4A16", [] { return weight_only(mx(4)); }},
    {"MXFP4XFP8", [] { return with_inputs(mx(4), at_run_time(grouped(NumberType::Float, 8, 128))); }},
    {"MXFP6A8", [] { return with_inputs(mx(6), at_run_time(mx(8))); }},
    {"MXFP6A16", [] { return weight_only(mx(6)); }},
    {"MXFP8", [] { return with_inputs(mx(8), at_run_time(mx(8))); }},
    {"MXFP8A16", [] { return weight_only(mx(8)); }},
    {"W2A16", integers<2, 16>},
    {"W3A16", integers<3, 16>},
    {"W5A16", integers<5, 16>},
    {"W6A16", integers<6, 16>},
    {"W7A16", integers<7, 16>},
    {"W2A8", integers<2, 8>},
    {"W3A8", integers<3, 8>},
    {"W4A8", integers<4, 8>},
    {"W5A8", integers<5, 8>},
    {"W6A8", integers<6, 8>},
    {"W7A8", integers<7, 8>},
    {"W2A4", integers<2, 4>},
    {"W3A4", integers<3, 4>},
    {"W4A4", integers<4, 4>},
    {"W4AFP8", [] { return with_inputs(grouped_int(4), tokens(NumberType::Float, 8)); }},
    {"UNQUANTIZED", [] { return Scheme{}; }},
};

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

bool has_integer_weights(const Scheme& scheme) { return scheme.weights && scheme.weights->type == NumberType::Int; }

bool is_integer_weight_only(const Scheme& scheme) {
  return has_integer_weights(scheme) && !scheme.input_activations && !scheme.output_activations;
}

}  // namespace

namespace {

// What to do instead, for words of other programs that are taken for a preset; empty: nothing is known.
std::string way_out(const std::string& upper) {
  constexpr std::pair<std::string_view, std::string_view> kOthers[] = {
      {"INT4", "W4A16"}, {"4BIT", "W4A16"}, {"INT8WO", "W8A16"}, {"8BIT", "W8A8"}, {"FP4", "NVFP4"}};
  for (const auto& [word, preset] : kOthers) {
    if (upper == word) return cat("did you mean ", preset, "? ");
  }
  for (const char* method : {"GPTQ", "AWQ", "RTN", "SMOOTHQUANT", "SPARSEGPT"}) {
    if (upper == method) return cat("give it as --method; ");
  }
  const bool of_gguf = upper.size() > 2 && (upper[0] == 'Q' || upper.starts_with("IQ")) && upper.find('_') < 4;
  if (of_gguf) return "it is a type of GGUF, which swage does not write; ";
  const std::string near = nearest_name(upper, preset_names());
  return near.empty() ? "" : cat("did you mean ", near, "? ");
}

}  // namespace

Scheme preset(std::string_view name) {
  const std::string upper = upper_case(name);
  for (const Preset& known : kPresets) {
    if (known.name == upper) return known.make();
  }
  throw Error(ErrorKind::InvalidArgument,
              cat("unknown scheme \"", name, "\"; ", way_out(upper), "known: ", joined(preset_names())));
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& known : kPresets) names.emplace_back(known.name);
  return names;
}

Scheme with_group_size(Scheme scheme, int64_t group_size) {
  SWAGE_CHECK(group_size > 0 || group_size == -1, InvalidArgument, "group size ", group_size,
              ": expected a positive number, or -1 for one scale a row");
  const bool in_groups = has_integer_weights(scheme) && scheme.weights->strategy == Strategy::Group;
  SWAGE_CHECK(is_integer_weight_only(scheme) || in_groups, InvalidArgument, "group size ", group_size,
              ": only schemes of integer weights, alone or in groups, have one");
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
