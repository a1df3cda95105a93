// A job against its model, before any text or weight is read: the views in front of the source, who is quantized how,
// what is rescaled and pruned, every tensor of the output, and what a plan is made from. A run, its dry run and an
// estimate begin with this same thing, so that they agree.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/checkpoint/reader.h"
#include "swage/format/weight_source.h"
#include "swage/job/compress_job.h"
#include "swage/model/model.h"
#include "swage/resolve/assignment.h"
#include "swage/resolve/bit_budget.h"
#include "swage/resolve/output.h"
#include "swage/resolve/rescaling.h"
#include "swage/resolve/sparsity.h"
#include "swage/schedule/plan_input.h"
#include "swage/views/model_views.h"

namespace swage::pipeline {

class Resolved {
 public:
  // `reader`: the source, or what its config alone makes of it (declared_source). It, the job and the context outlive
  // this. `device`: where models are made. Errors of the run: of a model that cannot be compressed so, of patterns that
  // match nothing, of a budget that cannot be reached.
  Resolved(const CompressJob& job, const checkpoint::Reader& reader, const Context& context, at::Device device);

  const format::CheckpointWeights& weights() const { return weights_; }  // the source's
  model::Model& source_model() const { return *source_model_; }
  // What is compressed: the source's model, or the same rotated, or with fewer experts; its weights and its config.
  model::Model& model() const { return *model_; }
  const checkpoint::WeightSource& values() const { return views_.weights(); }
  const Json& config() const { return views_.config(); }
  const ModelViews& views() const { return views_; }

  const Assignment& assignment() const { return assignment_; }
  const Rescalings& rescalings() const { return rescalings_; }
  const Sparsity& sparsity() const { return sparsity_; }
  Sparsity& sparsity() { return sparsity_; }  // for owl, which changes how much of each layer goes
  const OutputLayout& layout() const { return layout_; }
  // What there is to say of what was asked for.
  std::vector<std::string> warnings() const;

  // Of a bit budget: what is decided together, and the loss of each candidate there; from shapes until they are given.
  const std::vector<BudgetUnit>& units() const { return units_; }
  const BudgetCosts& costs() const { return costs_; }
  const BudgetOutcome& outcome() const { return outcome_; }
  // Chooses again, by these, and lays the output out anew.
  void choose_bits_by(BudgetCosts costs);

  bool calibrates() const { return job_.chain.calibrating() != nullptr || assignment_.needs_calibration(); }
  // Of a run with so many calibration rows (0: none) and tokens in each. Refers to this object.
  PlanInput plan_input(int64_t rows, int64_t row_tokens) const;

 private:
  ModelViews make_views() const;
  void assign();
  void choose_bits();
  void lay_out();
  OutputLayout layout_of(const Assignment& assignment) const;
  std::set<std::string> rewritten() const;  // tensors that the run itself changes
  void fill_sizes(PlanInput& in) const;

  const CompressJob& job_;
  const checkpoint::Reader& reader_;
  const Context& context_;
  const at::Device device_;
  const format::CheckpointWeights weights_;
  std::shared_ptr<model::Model> source_model_;
  ModelViews views_;
  const std::shared_ptr<model::Model> model_;  // the source's behind the views
  model::ModelShape shape_, whole_;            // of the two models
  Assignment assignment_;
  std::vector<BudgetUnit> units_;
  BudgetCosts costs_;
  BudgetOutcome outcome_;
  Rescalings rescalings_;
  Sparsity sparsity_;
  OutputLayout layout_;
};

}  // namespace swage::pipeline
