// A modifier is what a recipe names: it decides what is done to which linears. There are kinds of it, one class each: a
// Quantizer rounds weights; more are in headers of their own. The pipeline asks a modifier what it needs and hands it
// the linears that read one input together with that input's statistics; it never asks which modifier it is.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "swage/base/json.h"
#include "swage/format/quantized_weight.h"
#include "swage/modifiers/config.h"
#include "swage/modifiers/cost.h"
#include "swage/scheme/quantization.h"

namespace swage::modifiers {

// One linear to be quantized. O output rows, I input columns.
struct LinearTask {
  std::string_view name;
  at::Tensor weight_OI;         // in the checkpoint's dtype or float32
  at::ScalarType stored_dtype;  // the checkpoint's: the type of the scales
  const scheme::Scheme* scheme = nullptr;
  at::Tensor global_scale =
      {};  // f32 [1]: the one shared with linears that are not in this call; undefined: found here, if needed
  bool keep_zeros = false;    // zeros of the weight stay zeros
  bool measure_error = true;  // false: `relative_error` and `loss` need not be filled where that costs time
};

// What calibration saw at the input of those linears.
struct Statistics {
  at::Tensor gram_II;  // X^T X, f64; undefined without calibration
  int64_t tokens = 0;
};

// What calibration saw in each column of that input, f32.
struct ColumnStatistics {
  at::Tensor low_I, high_I;  // smallest and largest value
  at::Tensor mean_abs_I;     // mean of |x|
};

// How the target of a linear was corrected, see solvers::CorrectedTarget.
struct TargetReport {
  double ridge = 0, fitted = 0, held_out = 0;
};

struct SolvedLinear {
  format::QuantizedWeight weight;
  // Relative error of the outputs on the calibration tokens, sqrt(tr(dW H dW^T) / tr(W H W^T)); without calibration
  // that of the weight, ||dW|| / ||W||.
  double relative_error = 0;
  double loss = 0;      // tr(dW H dW^T) / tokens, or ||dW||^2
  double sparsity = 0;  // share of zeros, of a weight that was pruned
  std::vector<std::string> warnings;
  std::optional<TargetReport> target = {};
};

// Calls are const and may run in several threads.
class Modifier {
 public:
  virtual ~Modifier() = default;
  virtual std::string_view name() const = 0;  // as in a recipe: "GPTQModifier"
  virtual Json config() const = 0;            // its fields, to be saved in recipe.yaml
  virtual bool needs_calibration() const = 0;
  // What one call for linears that read the same input takes.
  virtual Cost cost(std::span<const LinearShape> linears, const CostSetting& setting) const = 0;
};

// What rounded weights should reproduce: the float weights; the float model's outputs on what the inputs have become;
// the same with the error that the residual stream carries by then (solvers/target.h).
enum class Target { Weights, Inputs, Residual };

// Rounds weights to the grids of their schemes.
class Quantizer : public Modifier {
 public:
  virtual const QuantizationFields& quantization() const = 0;
  // What the act-order of the config is called in quantization_config; empty for none.
  virtual std::string actorder() const { return {}; }
  // Whether the config asked for it; else it is a default, and what a scheme says counts before it.
  virtual bool insists_on_actorder() const { return false; }
  virtual Target target() const { return Target::Weights; }
  // Same order as `tasks`, which all read the input that `statistics` describes.
  virtual std::vector<SolvedLinear> quantize(std::span<const LinearTask> tasks, const Statistics& statistics) const = 0;
};

// A row of the table of modifiers: its recipe name, its short name on the command line, and how to make it.
struct ModifierRow {
  std::string_view name;    // "GPTQModifier"
  std::string_view method;  // "gptq"
  std::unique_ptr<Modifier> (*make)(const Json& fields, const std::string& source);
  std::vector<std::string> (*fields)();  // their names
};
std::span<const ModifierRow> modifier_table();
// By recipe or short name; Error(InvalidArgument) naming the nearest.
std::unique_ptr<Modifier> make_modifier(std::string_view name, const Json& fields, const std::string& source);
// Whether a recipe may give the modifier this field, be it that it changes nothing.
bool is_accepted_field(const ModifierRow& row, const std::string& field);
// Those of a recipe's fields that LLM Compressor has and that change nothing here.
std::vector<std::string> ignored_fields(const Json& fields);

}  // namespace swage::modifiers
