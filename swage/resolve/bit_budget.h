// Keeping to a bit budget: which modules are decided together, what they take with each candidate, and which one each
// of them gets.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/dtype.h"
#include "swage/model/model.h"
#include "swage/resolve/assignment.h"
#include "swage/solvers/bit_allocation.h"

namespace swage::pipeline {

// Modules that have one scheme: what engines fuse into one product, all experts of a layer, or one module.
struct BudgetUnit {
  std::string name;  // "model.layers.3.self_attn.qkv"
  int64_t block = -1;
  std::vector<std::string> modules;
  int64_t parameters = 0;
  std::vector<int64_t> bytes;  // stored, for each candidate: codes, scales, zero points and shapes
};

// The name of the unit that a module belongs to: engines run fused sets, and all experts of a layer, by one kernel.
std::string budget_unit_of(const model::ModuleInfo& module);
// The units of the assignment's budget, in the order of `modules`. `dtype_of`: of a module's scales. Error(Unsupported)
// for modules outside of the blocks.
std::vector<BudgetUnit> budget_units(const Assignment& assignment, const std::vector<model::ModuleInfo>& modules,
                                     const std::function<io::Dtype(const model::ModuleInfo&)>& dtype_of);

// Loss for each unit and candidate.
using BudgetCosts = std::vector<std::vector<double>>;
// As numbers of a JSON document and back, bit for bit. Error(CorruptData) if they are not those of `units`.
Json to_json(const BudgetCosts& costs);
BudgetCosts costs_from_json(const Json& json, const std::vector<BudgetUnit>& units);
// From shapes alone: each weight alike, a quarter for each bit.
BudgetCosts costs_of_shapes(const Assignment& assignment, const std::vector<BudgetUnit>& units);

// Candidate that a measuring pass puts into the model: the one that takes, everywhere, about as many bits as
// `budget_bytes` allow.
size_t probed_candidate(const std::vector<BudgetUnit>& units, int64_t budget_bytes);

// What was chosen.
struct BudgetOutcome {
  int64_t budget_bytes = 0;    // that the units may take
  double bits_per_weight = 0;  // that they take
  solvers::BitAllocation allocation;
};

// Bytes of all weight files of the output that the assignment makes.
using OutputBytes = std::function<uint64_t(const Assignment&)>;

// Gives each unit the candidate with which all cost least within the budget, and the candidates their modules as
// targets. Error(InvalidArgument) naming what can be reached if that is not the target.
BudgetOutcome keep_to_budget(const std::vector<BudgetUnit>& units, const BudgetCosts& costs,
                             const OutputBytes& output_bytes, Assignment& assignment);

// "bit budget: 4.2498 bits a weight: W3A16 g64 in 40 modules, ..." for people.
std::string budget_summary(const Assignment& assignment, const BudgetOutcome& outcome);
// {"target_bits" | "target_bytes", "bits_per_weight", "predicted_loss", "lower_bound", "candidates", "units",
// "uniform", "frontier"}: for the report.
Json budget_report(const Assignment& assignment, const std::vector<BudgetUnit>& units, const BudgetCosts& costs,
                   const BudgetOutcome& outcome);

}  // namespace swage::pipeline
