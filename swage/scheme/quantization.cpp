#include "swage/scheme/quantization.h"

#include <array>
#include <cmath>

#include "swage/base/error.h"

namespace swage::scheme {
namespace {

template <class Enum>
using Word = std::pair<std::string_view, Enum>;

constexpr std::array<Word<NumberType>, 2> kNumberTypes = {{{"int", NumberType::Int}, {"float", NumberType::Float}}};
constexpr std::array<Word<Strategy>, 7> kStrategies = {{{"tensor", Strategy::Tensor},
                                                        {"channel", Strategy::Channel},
                                                        {"group", Strategy::Group},
                                                        {"block", Strategy::Block},
                                                        {"token", Strategy::Token},
                                                        {"tensor_group", Strategy::TensorGroup},
                                                        {"attn_head", Strategy::AttnHead}}};

template <class Enum, size_t N>
std::string_view word_of(const std::array<Word<Enum>, N>& words, Enum value) {
  for (const auto& [word, known] : words) {
    if (known == value) return word;
  }
  throw Error(ErrorKind::Internal, cat("no word for enumerator ", int(value)));
}

template <class Enum, size_t N>
Enum value_of(const std::array<Word<Enum>, N>& words, std::string_view what, std::string_view name) {
  std::string known;
  for (const auto& [word, value] : words) {
    if (word == name) return value;
    known += cat(known.empty() ? "" : ", ", word);
  }
  throw Error(ErrorKind::CorruptData, cat("unknown ", what, " \"", name, "\"; known: ", known));
}

// What a format is chosen for where no one names one. In the order compressed-tensors asks; the first that fits.
struct DefaultFormat {
  NumberType type;
  int least_bits, most_bits;
  int64_t group;                 // 0: any
  std::string_view scale_dtype;  // empty: any
  bool activations;              // only where they are quantized too
  const char* name;
};
constexpr int kAnyBits = 1 << 20;
constexpr DefaultFormat kDefaultFormats[] = {{NumberType::Float, 4, 4, 32, "", false, "mxfp4-pack-quantized"},
                                             {NumberType::Float, 6, 6, 32, "", false, "mxfp6-pack-quantized"},
                                             {NumberType::Float, 8, 8, 32, "uint8", false, "mxfp8-quantized"},
                                             {NumberType::Float, 4, 4, 16, "", false, "nvfp4-pack-quantized"},
                                             {NumberType::Int, 0, kAnyBits, 0, "", true, "int-quantized"},
                                             {NumberType::Int, 0, 8, 0, "", false, "pack-quantized"},
                                             {NumberType::Float, 0, kAnyBits, 0, "", true, "float-quantized"}};

bool has_dtype(const std::optional<std::string>& dtype, std::string_view name) {
  return dtype && (*dtype == name || *dtype == cat("torch.", name));
}

bool holds(const DefaultFormat& row, const QuantizationArgs& weights, bool activations) {
  return row.type == weights.type && row.least_bits <= weights.num_bits && weights.num_bits <= row.most_bits &&
         (row.group == 0 || row.group == weights.group_size.value_or(0)) &&
         (row.scale_dtype.empty() || has_dtype(weights.scale_dtype, row.scale_dtype)) &&
         (activations || !row.activations);
}

}  // namespace

double code_max(const QuantizationArgs& args) {
  if (args.type == NumberType::Int) {
    SWAGE_CHECK(args.num_bits >= 1 && args.num_bits <= 32, Unsupported, "integers of ", args.num_bits, " bits");
    return std::ldexp(1.0, args.num_bits - 1) - 1;
  }
  if (args.num_bits == 8) return 448;
  if (args.num_bits == 6) return 7.5;
  SWAGE_CHECK(args.num_bits == 4, Unsupported, "floats of ", args.num_bits, " bits");
  return 6;
}

double code_min(const QuantizationArgs& args) {
  return args.type == NumberType::Int ? -code_max(args) - 1 : -code_max(args);
}

bool orders_groups(const QuantizationArgs& args) { return args.actorder == "group" || args.actorder == "dynamic"; }

int64_t columns_per_scale(const QuantizationArgs& args, int64_t columns) {
  if (args.strategy != Strategy::Group && args.strategy != Strategy::TensorGroup) return columns;
  const int64_t size = args.group_size.value_or(0);
  SWAGE_CHECK(size > 0 && columns % size == 0, InvalidArgument, columns, " columns do not split into groups of ", size);
  return size;
}

std::string_view name_of(NumberType type) { return word_of(kNumberTypes, type); }
std::string_view name_of(Strategy strategy) { return word_of(kStrategies, strategy); }
NumberType number_type_named(std::string_view name) { return value_of(kNumberTypes, "type", name); }
Strategy strategy_named(std::string_view name) { return value_of(kStrategies, "strategy", name); }

std::string default_format(const Scheme& scheme) {
  if (!scheme.weights) return "dense";
  for (const DefaultFormat& row : kDefaultFormats) {
    if (holds(row, *scheme.weights, scheme.input_activations.has_value())) return row.name;
  }
  return "naive-quantized";
}

std::string format_of(const Scheme& scheme) {
  if (!scheme.format.empty()) return scheme.format;
  const bool narrow = scheme.weights && scheme.weights->type == NumberType::Int && scheme.weights->num_bits < 8;
  return narrow ? "pack-quantized" : default_format(scheme);
}

}  // namespace swage::scheme
