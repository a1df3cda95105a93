// The pipeline for modifiers that need no calibration: module by module, straight from the source's tensors to the
// output. A list of layers, read by the run and by its plan.
#pragma once
#include <string>
#include <vector>

#include "swage/schedule/ledger.h"
#include "swage/schedule/plan_input.h"
#include "swage/schedule/run.h"

namespace swage::pipeline {

inline constexpr double kRotationBytes = 12;  // of a weight that is rotated: as it was, turned to rows, the result

// What is done to a layer, or outside of the layers, and, side by side, what that takes.
class LayerWithoutData {
 public:
  // Modules that are solved in one call: those that share a global scale, else a single one.
  struct Set {
    std::string key;
    std::vector<model::ModuleInfo> modules;
  };

  explicit LayerWithoutData(int block) : block_(block) {}  // -1: outside
  int block() const { return block_; }
  void add(const PlanInput& in, const model::ModuleInfo& module);

  // Adds its work, and its memory where that is larger.
  void cost(const PlanInput& in, PlanStage& stage) const;
  void run(const Run& run) const;

 private:
  int block_;
  std::vector<Set> sets_;
  std::vector<model::ModuleInfo> dense_;  // that are pruned and stay dense
};

// Those that have work, in order.
std::vector<LayerWithoutData> data_free_schedule(const PlanInput& input);
PlanStage plan_data_free(const PlanInput& input);
void run_data_free(const Run& run, const PlanInput& planned);

}  // namespace swage::pipeline
