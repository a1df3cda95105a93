#include "swage/schedule/float_pass.h"

#include "swage/base/error.h"
#include "swage/base/memory.h"

namespace swage::pipeline {
namespace {

class FloatRunner {
 public:
  FloatRunner(FloatPass& pass, const FloatSchedule& schedule) : pass_(pass), schedule_(schedule) {
    if (pass.job.watch == nullptr) return;
    declared_.emplace(pass.job.planned, Runs::Float);
    add_costs(schedule, *declared_);
  }

  void run(const FloatPassKeeper& keeper) {
    const int64_t blocks = pass_.job.model.blocks();
    for (const FloatSection& section : schedule_) {
      if (section.block == 0) begin_layers(keeper);
      const bool again = section.block >= 0 && section.block < measured_;
      if (!again || measured_ < blocks) run_section(section, again);
      ran_ += section.actions.size();
      if (section.block < 0 || measured_ == blocks) continue;
      if (!again && keeper.keep) keeper.keep(section.block + 1);
      tell(section.block, blocks);
    }
  }

 private:
  void begin_layers(const FloatPassKeeper& keeper) {
    measured_ = keeper.take_up ? keeper.take_up() : 0;
    began_seconds_ = pass_.job.clock.total_seconds();
  }

  void run_section(const FloatSection& section, bool again) {
    const FloatPassJob& job = pass_.job;
    try {
      for (size_t i = 0; i < section.actions.size(); ++i) {
        const FloatAction& action = *section.actions[i];
        if (again && action.solves()) continue;
        job.context.check_cancelled();
        if (job.watch != nullptr) job.watch->begin(action, declared_->ledger.declared()[ran_ + i]);
        action.run(pass_);
        if (job.watch != nullptr) job.watch->end(action);
      }
    } catch (Error& e) {
      if (section.block >= 0) e.add_context(cat("layer ", section.block));
      throw;
    }
    release_free_memory();
  }

  void tell(int64_t block, int64_t blocks) const {
    ProgressEvent event;
    event.stage = pass_.told;
    event.layer = block;
    event.layers = blocks;
    event.elapsed_seconds = pass_.job.clock.total_seconds();
    event.rss_bytes = current_rss_bytes();
    const double spent = event.elapsed_seconds - began_seconds_, own = double(block + 1);
    const double eta = own > 0 && spent > 0 ? spent / own * double(blocks - block - 1) : -1;
    event.eta_seconds = eta;
    if (pass_.job.progress != nullptr)
      event = pass_.job.progress->of_run(std::move(event), pass_.planned, began_seconds_, eta);
    pass_.job.context.progress(event);
  }

  FloatPass& pass_;
  const FloatSchedule& schedule_;
  std::optional<PassCosts> declared_;  // for a watch
  double began_seconds_ = 0;
  int64_t measured_ = 0;  // layers, by an earlier process
  size_t ran_ = 0;        // actions of the sections before
};

}  // namespace

void embed_rows(FloatPass& pass, const std::function<void()>& besides) {
  const FloatPassJob& job = pass.job;
  job.model.load_ends(job.weights);
  pass.activations.emplace(job.model, pass.ids_NL, job.tiers, job.context.trace);
  if (besides) besides();
  job.model.drop_ends();
  release_free_memory();
}

void run_float_pass(FloatPass& pass, const FloatSchedule& schedule, const FloatPassKeeper& keeper) {
  FloatRunner(pass, schedule).run(keeper);
}

PlanStage plan_float_pass(const FloatSchedule& schedule, const PlanInput& input, const std::string& name) {
  PassCosts costs(input, Runs::Float);
  costs.stage.name = name;
  add_costs(schedule, costs);
  return costs.stage;
}

}  // namespace swage::pipeline
