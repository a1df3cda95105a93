// What the actions of a calibrated pass take, while they are gone through in order: sizes that several of them share,
// the ledger of what is in memory, and the work so far. From shapes alone.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "swage/schedule/ledger.h"
#include "swage/schedule/plan_input.h"

namespace swage::pipeline {

inline constexpr double kDouble = 8, kCode16 = 2;  // bytes; a code of a weight that the run computes with
inline constexpr double kForwardPasses = 1.5;      // of copying, over what enters and leaves the linears of a stage

inline double square(double x) { return x * x; }

// Bytes of linears, embeddings and head outside the blocks, as float32 while they are loaded.
double bytes_of_ends(const model::ModelShape& shape);
// Of the calibration rows, those whose activations are in memory at once.
double share_in_memory(const PlanInput& input);
// The largest Gram matrix's packed inputs (ops/gram), for `tokens` of `columns`.
double gram_scratch_bytes(double columns, double tokens, bool on_device);

// Which model runs: the float one alone computes on float weights, whatever the recipe makes of them.
enum class Runs { AsSolved, Float };

class PassCosts {
 public:
  explicit PassCosts(const PlanInput& input, Runs runs = Runs::AsSolved);

  const PlanInput& in;
  const double tokens, hidden;  // of all rows; numbers of the residual stream
  PlanStage stage;              // what is found out
  Ledger ledger{in, stage};
  uint64_t activation_bytes = 0;  // at their largest, of both streams

  PlanWork& work() { return stage.work; }
  const model::BlockShape& block(int64_t b) const { return in.shape.blocks[size_t(b)]; }
  // The same as it is loaded: with all experts, where some go.
  const model::BlockShape& whole(int64_t b) const {
    return (in.whole != nullptr ? *in.whole : in.shape).blocks[size_t(b)];
  }
  bool corrects() const;  // weights make up for earlier layers
  double streams() const { return corrects() ? 2 : 1; }
  // Threads that take sequences through a block at once.
  double forward_threads() const { return in.on_device ? 1 : in.threads; }
  // Of inputs of `columns` that are quantized or turned before they enter a Gram matrix, bytes.
  double copies_of_inputs(double columns) const;
  modifiers::CostSetting setting() const { return {true, in.threads, in.on_device}; }
  // Linears of these that the recipe quantizes, or prunes.
  std::vector<modifiers::LinearShape> quantized(int64_t b, const std::vector<int>& linears) const;
  std::vector<modifiers::LinearShape> pruned(int64_t b, const std::vector<int>& linears) const;
  // What a weight is kept as for the rest of the run: integer codes where the processor multiplies these.
  bool kept_as_integers(const model::ModuleInfo& linear) const;

  // Groups of columns with a scale of their own, to a weight.
  double groups_of(const model::ModuleInfo& linear) const;

  // A layer's activations: inputs of its widest linear, routing, and `kept_by_forward` bytes that the allocator keeps.
  void enter_block(int64_t b);
  // A stage: nothing is measured yet.
  void enter_stage();
  // The Gram matrix of the stage's input, and `copies` of inputs meanwhile. One serves all groups of a stage, if every
  // expert sees every token.
  void measure(double columns, int expert, double copies);
  // A modifier's work and scratch, with `more` bytes that it works on.
  void solve(const modifiers::Cost& cost, std::string_view name, double more = 0);
  void add_work(const modifiers::Cost& cost);
  // Pieces of `small` bytes that a modifier leaves with the allocator beside those of the forward pass.
  void leave_small(double small);

 private:
  double small_temporaries(const model::BlockShape& block) const;

  const Runs runs_;
  double widest_ = 0;           // columns of an input, of all blocks so far
  double kept_by_forward_ = 0;  // by the allocator
  int measured_ = 0;            // Gram matrices of the current stage
};

}  // namespace swage::pipeline
