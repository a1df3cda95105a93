// Modifiers that move magnitude from the activations into the weights before these are rounded: the outputs of a layer
// are divided by s, the columns of the linears that read them multiplied. Which layers may do so is the architecture's
// knowledge (model/smoothing.h).
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "swage/modifiers/modifier.h"

namespace swage::modifiers {

// A mapping out of a recipe: patterns as in targets.
struct Mapping {
  std::string smooth;                // the layer whose outputs are divided
  std::vector<std::string> balance;  // linears that read them
};

// Squared change of what the module above the consumers (attention, MLP) makes, if these weights, one for each
// consumer, took the place of theirs.
using OutputError = std::function<double(const std::vector<at::Tensor>& weights_OI)>;

// Linears that read one input, which is to be rescaled.
struct RescaleTask {
  std::vector<LinearTask> consumers;  // scheme: null for one that stays float
  ColumnStatistics columns;
  Statistics statistics;         // of the same input; empty unless needs_gram()
  int64_t run = 1, repeats = 1;  // s must repeat: see model::SmoothingPair
  OutputError output_error =
      {};  // empty unless outputs_tried(), and where there is one consumer, whose output the Gram matrix judges exactly
};

class Rescaler : public Modifier {
 public:
  bool needs_calibration() const override { return true; }
  // Empty: all pairs of the architecture, of those whose producer is a linear only if follows_linears().
  virtual const std::vector<Mapping>& mappings() const = 0;
  virtual const std::vector<std::string>& ignore() const = 0;  // producers that are left alone
  virtual bool follows_linears() const = 0;
  virtual bool needs_gram() const = 0;
  virtual bool needs_mean() const = 0;  // ColumnStatistics::mean_abs_I, undefined without
  // How often it calls RescaleTask::output_error for a pair; 0: not at all, and it may be empty.
  virtual int64_t outputs_tried() const { return 0; }
  // Whether its scales mean something where nothing is rounded after it.
  virtual bool works_alone() const { return false; }
  // s [I], f32, positive.
  virtual at::Tensor scales(const RescaleTask& task) const = 0;
};

// `mappings` of a recipe: pairs [balance_layers, smooth_layer], or objects with these names. Error(InvalidArgument)
// naming `source`.
std::vector<Mapping> parse_mappings(const Json& mappings, const std::string& source);
// s with the geometric mean of its repeats in the place of each: columns that read the same output share one number.
at::Tensor share_over_repeats(const at::Tensor& s_I, int64_t run, int64_t repeats);

}  // namespace swage::modifiers
