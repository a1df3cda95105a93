#include "swage/schedule/float_pass.h"

#include "swage/schedule/actions/forward_costs.h"
#include "swage/schedule/run.h"

namespace swage::pipeline::actions {
namespace {

// Embeds all rows.
class Embed : public FloatAction {
 public:
  Embed() : FloatAction("embedding") {}

  void cost(PassCosts& costs) const override { cost_of_embedding(costs); }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time(pass.timed);
    embed_rows(pass);
  }
};

// Reads the block's weights and computes what its first stage reads.
class EnterFloatBlock : public FloatAction {
 public:
  EnterFloatBlock(std::string at, int64_t b) : FloatAction(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override { cost_of_entering(costs, b_); }

  void run(FloatPass& pass) const override {
    const FloatPassJob& job = pass.job;
    const auto timed = job.clock.time(pass.timed);
    if (b_ + 1 < job.model.blocks()) job.weights.prefetch(job.model.tensors_of_block(b_ + 1));
    pass.block = job.model.load_block(b_, job.weights);
    for (const model::Linear& linear : pass.block->linears) pass.activations->make_room(linear.columns);
    pass.activations->advance([&](model::Flow& flow) { pass.block->begin(flow); }, b_);
  }

 private:
  int64_t b_;
};

// Runs the stage's linears, and goes on to what those of the next stage read.
class FloatStep : public FloatAction {
 public:
  FloatStep(std::string at, int64_t b, int64_t s) : FloatAction(std::move(at)), b_(b), s_(s) {}

  void cost(PassCosts& costs) const override { cost_of_step(costs, b_, s_); }

  void run(FloatPass& pass) const override {
    const auto timed = pass.job.clock.time(pass.timed);
    pass.activations->advance([&](model::Flow& flow) { pass.block->step(int(s_), flow); }, b_);
  }

 private:
  int64_t b_, s_;
};

// Gives the block's weights back.
class LeaveFloatBlock : public FloatAction {
 public:
  LeaveFloatBlock(std::string at, int64_t b) : FloatAction(std::move(at)), b_(b) {}

  void cost(PassCosts& costs) const override { cost_of_leaving(costs); }

  void run(FloatPass& pass) const override {
    drop_block(pass.job.reader, pass.job.model, b_);
    pass.block.reset();
  }

 private:
  int64_t b_;
};

}  // namespace

FloatActionPtr embed() { return std::make_unique<Embed>(); }
FloatActionPtr enter_float_block(std::string at, int64_t b) {
  return std::make_unique<EnterFloatBlock>(std::move(at), b);
}
FloatActionPtr float_step(std::string at, int64_t b, int64_t s) {
  return std::make_unique<FloatStep>(std::move(at), b, s);
}
FloatActionPtr leave_float_block(std::string at, int64_t b) {
  return std::make_unique<LeaveFloatBlock>(std::move(at), b);
}

}  // namespace swage::pipeline::actions
