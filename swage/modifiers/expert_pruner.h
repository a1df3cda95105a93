// Modifiers that take whole experts out of the mixtures of a model, before anything else is done to their weights. How
// many go follows from the shapes, which ones from what the router and the experts do with calibration text. Which
// tensors that concerns is the architecture's knowledge (model/description.h).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "swage/modifiers/modifier.h"

namespace swage::modifiers {

// What calibration saw of one mixture, for each expert, of the tokens that are routed to it.
struct ExpertStatistics {
  std::vector<double> weighted_norms;  // sum of the router's weight times the norm of the expert's output
  std::vector<int64_t> tokens;
};

class ExpertPruner : public Modifier {
 public:
  bool needs_calibration() const override { return true; }
  // How many of a mixture's experts go.
  virtual int64_t dropped(int64_t experts) const = 0;
  // Regular expressions searched for in the name of a mixture ("model.layers.0.mlp"), which is then left alone.
  virtual const std::vector<std::string>& ignore() const = 0;
  virtual const std::optional<std::string>& report_path() const = 0;  // a file of its own for what was found
  // The more, the rather an expert stays.
  virtual std::vector<double> scores(const ExpertStatistics& statistics) const = 0;
};

}  // namespace swage::modifiers
