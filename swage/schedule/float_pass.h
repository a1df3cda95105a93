// A pass of the float model over the calibration rows that measures something before anything is written: outliers for
// OWL (owl.h), what candidates of a bit budget cost (bit_sensitivity.h). It is a list of actions, as the calibrated
// pass is.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "swage/base/context.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/job/run_progress.h"
#include "swage/model/model.h"
#include "swage/offload/rows.h"
#include "swage/report/report.h"
#include "swage/schedule/activations.h"
#include "swage/schedule/pass_watch.h"
#include "swage/schedule/section.h"

namespace swage::pipeline {

class OutlierCounts;
class BitProbes;

using FloatSection = SectionOn<FloatPass>;
using FloatSchedule = std::vector<FloatSection>;

// What such a pass is about, and who is told of it.
struct FloatPassJob {
  model::Model& model;
  const checkpoint::Reader& reader;
  const checkpoint::WeightSource& weights;
  const Context& context;
  StageClock& clock;
  const PlanInput& planned;               // of the pass; the schedule was made from it
  offload::Tiers tiers = {};              // as in Activations
  const RunProgress* progress = nullptr;  // what makes the time of the pass that of the run
  PassWatch* watch = nullptr;
};

// What the actions of such a pass share while it runs.
struct FloatPass {
  const FloatPassJob& job;
  at::Tensor ids_NL;                            // rows, int64
  const char* planned;                          // its name in the plan
  const char* told;                             // what people are told: "measuring"
  const char* timed;                            // what the forward's time counts as; a literal
  OutlierCounts* outliers = nullptr;            // whichever measures
  BitProbes* probes = nullptr;                  //
  std::optional<Activations> activations = {};  // once they are embedded
  std::unique_ptr<model::Block> block = {};     // the one at hand
};

// Embeds all rows, and does what else needs the ends of the model.
void embed_rows(FloatPass& pass, const std::function<void()>& besides = {});

// What an interrupted pass is gone on with; either may be empty.
struct FloatPassKeeper {
  // The layers that an earlier process measured, taken up before the first one is entered: these are gone through only,
  // and left out where none is to be measured after them.
  std::function<int64_t()> take_up = {};
  // Called after each other layer, with the number of those measured.
  std::function<void(int64_t)> keep = {};
};

void run_float_pass(FloatPass& pass, const FloatSchedule& schedule, const FloatPassKeeper& keeper = {});

// All of it added up as the stage `name` of a plan; `input` is of the float model.
PlanStage plan_float_pass(const FloatSchedule& schedule, const PlanInput& input, const std::string& name);

namespace actions {

// Of layer b; s counts its stages.
FloatActionPtr embed();
FloatActionPtr enter_float_block(std::string at, int64_t b);
FloatActionPtr float_step(std::string at, int64_t b, int64_t s);
FloatActionPtr leave_float_block(std::string at, int64_t b);

}  // namespace actions

}  // namespace swage::pipeline
