// Whoever watches a pass: tests hold what it really has in memory against what each action declared.
#pragma once

namespace swage::pipeline {

class Action;

class PassWatch {
 public:
  virtual ~PassWatch() = default;
  // `declared_bytes`: the most that the ledger has while the action goes on, without the process.
  virtual void begin(const Action& action, double declared_bytes) = 0;
  virtual void end(const Action& action) = 0;
};

}  // namespace swage::pipeline
