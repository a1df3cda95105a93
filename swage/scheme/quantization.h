// How a tensor is quantized, in the words of compressed-tensors' quantization_config. Data only.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

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
  std::optional<int64_t> group_size;                   // Group and TensorGroup only
  std::optional<std::pair<int64_t, int64_t>> block_structure;  // Block only: rows, columns
  Dynamic dynamic = Dynamic::No;
  std::optional<std::string> actorder;     // "static" ("weight"), "group"
  std::optional<std::string> scale_dtype;  // "torch.float8_e4m3fn", "torch.uint8"; none: the weight's
  std::optional<std::string> zp_dtype;
  std::optional<std::string> observer;
  bool operator==(const QuantizationArgs&) const = default;
};

// Smallest and largest code: -2^(b-1) .. 2^(b-1)-1, or +-448, +-6 for the floats.
double code_min(const QuantizationArgs& args);
double code_max(const QuantizationArgs& args);

// What is done to the linears that `targets` match.
struct Scheme {
  std::vector<std::string> targets = {"Linear"};
  std::optional<QuantizationArgs> weights;
  std::optional<QuantizationArgs> input_activations;
  std::optional<QuantizationArgs> output_activations;
  std::string format;  // "pack-quantized", ...; empty: the one compressed-tensors would choose
  bool operator==(const Scheme&) const = default;
};

}  // namespace swage::scheme
