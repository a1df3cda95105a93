// How a tensor is quantized, in the words of compressed-tensors' quantization_config. Data only.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"

namespace swage::scheme {

enum class NumberType { Int, Float };
// Which values share a scale: the whole tensor, one output row, `group_size` consecutive inputs of a row, a tile,
// one row of an activation at run time, a group under a global scale, one attention head.
enum class Strategy { Tensor, Channel, Group, Block, Token, TensorGroup, AttnHead };
enum class Dynamic { No, Yes, Local };

struct QuantizationArgs {
  int num_bits = 8;
  NumberType type = NumberType::Int;
  bool symmetric = true;
  Strategy strategy = Strategy::Tensor;
  std::optional<int64_t> group_size;                           // Group and TensorGroup only
  std::optional<std::pair<int64_t, int64_t>> block_structure;  // Block only: rows, columns
  Dynamic dynamic = Dynamic::No;
  std::optional<std::string> actorder;     // "static" or "weight", the same; "group" or "dynamic": see orders_groups()
  std::optional<std::string> scale_dtype;  // "torch.float8_e4m3fn", "torch.uint8"; none: the weight's
  std::optional<std::string> zp_dtype;     // asymmetric only; none: int8 for integers of at most 8 bits
  std::optional<std::string> observer;
  Json observer_kwargs = Json::object();  // settings of the observer; always an object
  bool operator==(const QuantizationArgs&) const = default;
};

// Smallest and largest code: -2^(b-1) .. 2^(b-1)-1, or +-448, +-7.5, +-6 for floats of 8, 6 and 4 bits.
// Error(Unsupported) for other widths.
double code_min(const QuantizationArgs& args);
double code_max(const QuantizationArgs& args);
// Whether groups were formed after sorting the columns, so that each column needs its group's number stored.
bool orders_groups(const QuantizationArgs& args);
// Columns that share a scale: the group size, or all of them. Error(InvalidArgument) if groups do not divide them.
int64_t columns_per_scale(const QuantizationArgs& args, int64_t columns);

// The words of compressed-tensors. The *_named functions throw Error(CorruptData) listing the words they know.
std::string_view name_of(NumberType type);
std::string_view name_of(Strategy strategy);
NumberType number_type_named(std::string_view name);
Strategy strategy_named(std::string_view name);

// What is done to the linears that `targets` match.
struct Scheme {
  std::vector<std::string> targets = {"Linear"};
  std::optional<QuantizationArgs> weights;
  std::optional<QuantizationArgs> input_activations;
  std::optional<QuantizationArgs> output_activations;
  std::string format;  // "pack-quantized", ...; empty: see format_of()
  bool operator==(const Scheme&) const = default;
};

// The format compressed-tensors 0.20 stores a Linear or Embedding of this scheme in; "dense" without weights.
std::string default_format(const Scheme& scheme);
// scheme.format, or where that is empty the one swage stores it in: the default, but pack-quantized for integer weights
// of fewer than 8 bits with quantized activations (WbA8, WbA4, W4AFP8), which the default leaves at a byte a code. Of
// those, vLLM runs the packed ones on GPUs.
std::string format_of(const Scheme& scheme);

}  // namespace swage::scheme
