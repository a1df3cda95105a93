#include "swage/schedule/sequential.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "swage/base/error.h"
#include "swage/base/memory.h"
#include "swage/schedule/calibrated_schedule.h"
#include "swage/schedule/pass_state.h"

namespace swage::pipeline {
namespace {

class Sequential {
 public:
  Sequential(const Run& run, const at::Tensor& ids_NL, const PlanInput& planned, const SequentialOptions& options)
      : run_(run),
        options_(options),
        schedule_(calibrated_schedule(planned)),
        costs_(options.watch != nullptr ? costs_of(schedule_, planned) : nullptr),
        pass_{.stage = {}, .planned = "calibrate", .tokens = ids_NL.numel()} {
    if (!all_finished()) embed(ids_NL);
  }

  void run() {
    if (state_ == nullptr) return;
    const int64_t first = load_activations();
    for (int64_t b = 0; state_->float_stream && b < first; ++b)
      state_->float_stream->pass_block(run_.model, b, run_.weights);
    pass_.began_seconds = run_.clock.total_seconds();
    for (const Section& section : schedule_) {
      if (section.block < 0)
        run_end(section);
      else if (section.block >= first)
        run_layer(section);
      ran_ += section.actions.size();
    }
  }

 private:
  bool finished(const Section& section) const { return run_.steps.finished(section.step); }
  bool all_finished() const {
    return std::all_of(schedule_.begin(), schedule_.end(), [&](const Section& section) { return finished(section); });
  }

  void embed(const at::Tensor& ids_NL) {
    const auto timed = run_.clock.time("embed");
    run_.model.load_ends(run_.weights);
    state_ = std::make_unique<PassState>(run_, ids_NL, options_);
    run_.model.drop_ends();
    release_free_memory();
  }

  // The first layer to be run: 0, or the one after those whose output was saved.
  int64_t load_activations() {
    if (!state_->saves_activations()) return 0;
    int64_t done = 0;
    while (done < run_.model.blocks() && run_.steps.finished(block_step(done))) ++done;
    if (done > 0) state_->activations.load(state_->saved_activations(done - 1), done - 1);
    return done;
  }

  void run_layer(const Section& section) {
    const bool again = finished(section);
    pass_.stage = again ? "resuming" : "calibrating";
    first_module_ = run_.modules.size();
    if (again) pass_.first = double(section.block + 1);  // such layers take a share of the time of the others
    try {
      run_.clock.enter_block(section.block);
      const TraceSpan span(run_.context.trace, again ? "layer, gone through again" : "layer", Trace::Kind::Other,
                           section.block);
      tell_progress(run_, pass_, section.block, double(section.block), first_module_,
                    false);  // the passes before the first solution can take minutes
      state_->finished = again;
      run_actions(section);
      if (!again) finish(section);
    } catch (Error& e) {
      e.add_context(cat("layer ", section.block));
      throw;
    }
    if (again) pass_.began_seconds = run_.clock.total_seconds();
    tell_progress(run_, pass_, section.block, double(section.block + 1), first_module_, true);
  }

  void run_end(const Section& section) {
    if (finished(section)) return;
    run_.clock.enter_block(-1);
    state_->finished = false;
    run_actions(section);
    finish(section);
  }

  void run_actions(const Section& section) {
    for (size_t i = 0; i < section.actions.size(); ++i) {
      const PassAction& action = *section.actions[i];
      if (state_->finished && action.solves()) continue;
      run_.context.check_cancelled();
      if (options_.watch != nullptr) options_.watch->begin(action, costs_->ledger.declared()[ran_ + i]);
      action.run(*state_);
      if (options_.watch != nullptr) options_.watch->end(action);
      if (section.block < 0 || !action.solves()) continue;
      const double done = double(i + 1) / double(section.actions.size());
      tell_progress(run_, pass_, section.block, double(section.block) + done, first_module_, false);
    }
  }

  void finish(const Section& section) {
    {
      const auto timed = run_.clock.time("journal");
      run_.steps.finish(section.step);
    }
    run_.memory.check();
  }

  const Run& run_;
  const SequentialOptions options_;
  const CalibratedSchedule schedule_;
  const std::unique_ptr<PassCosts> costs_;  // for a watch
  Pass pass_;
  size_t first_module_ = 0;           // of the layer
  size_t ran_ = 0;                    // actions of the sections before
  std::unique_ptr<PassState> state_;  // null if an earlier run finished everything
};

}  // namespace

void run_sequential(const Run& run, const at::Tensor& ids_NL, const PlanInput& planned,
                    const SequentialOptions& options) {
  Sequential(run, ids_NL, planned, options).run();
}

}  // namespace swage::pipeline
