// An action of a calibrated pass: what it does and, side by side, what that takes. A pass is a list of these
// (calibrated_schedule.h), made once from shapes: the run executes it, a plan adds it up.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "swage/model/model.h"

namespace swage::pipeline {

class PassCosts;
class PassState;

class Action {
 public:
  // `at`: where the pass is then, for people.
  explicit Action(std::string at) : at_(std::move(at)) {}
  virtual ~Action() = default;

  const std::string& at() const { return at_; }
  // Whether it changes weights: not done again in a layer that an earlier run finished.
  virtual bool solves() const { return false; }
  // Buffers that it takes and gives back, its largest moments and its work.
  virtual void cost(PassCosts& costs) const = 0;
  virtual void run(PassState& state) const = 0;

 private:
  std::string at_;
};

using ActionPtr = std::unique_ptr<const Action>;

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
