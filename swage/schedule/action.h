// An action of a pass over the model: what it does and, side by side, what that takes. A pass is a list of these
// (section.h), made once from shapes: the run executes it, a plan adds it up. There are two kinds of passes: the
// calibrated one, which solves (calibrated_schedule.h), and those of the float model, which measure something before
// anything is written (float_pass.h).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "swage/model/model.h"

namespace swage::pipeline {

class PassCosts;
class PassState;
struct FloatPass;

class Action {
 public:
  // `at`: where the pass is then, for people.
  explicit Action(std::string at) : at_(std::move(at)) {}
  virtual ~Action() = default;

  const std::string& at() const { return at_; }
  // Whether it changes weights, or measures: not done again in a layer that an earlier run finished.
  virtual bool solves() const { return false; }
  // Buffers that it takes and gives back, its largest moments and its work.
  virtual void cost(PassCosts& costs) const = 0;

 private:
  std::string at_;
};

// One that works on what the actions of its pass share.
template <class State>
class ActionOn : public Action {
 public:
  using Action::Action;
  virtual void run(State& state) const = 0;
};

using PassAction = ActionOn<PassState>;
using FloatAction = ActionOn<FloatPass>;
using ActionPtr = std::unique_ptr<const PassAction>;
using FloatActionPtr = std::unique_ptr<const FloatAction>;

// Of layer b; s counts its stages, g the input groups of a stage. Each is explained where it is made.
namespace actions {

ActionPtr enter_block(std::string at, int64_t b);
ActionPtr enter_stage(std::string at, int64_t s);
ActionPtr prune_experts(std::string at, int64_t b);
ActionPtr rescale(std::string at, int64_t b, int64_t s);
ActionPtr prune(std::string at, int64_t b, int64_t s, int64_t g);
ActionPtr quantize(std::string at, int64_t b, int64_t s, int64_t g);
ActionPtr step(std::string at, int64_t b, int64_t s);
ActionPtr finish_block(std::string at, int64_t b);
ActionPtr solve_end(const model::ModuleInfo& end);

}  // namespace actions

}  // namespace swage::pipeline
