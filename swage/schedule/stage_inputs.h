// What the linears of the current stage are about to read, measured over the whole calibration set.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "swage/modifiers/modifier.h"
#include "swage/schedule/activations.h"
#include "swage/schedule/float_stream.h"
#include "swage/schedule/linear_input.h"
#include "swage/schedule/run.h"
#include "swage/solvers/target.h"

namespace swage::pipeline {

// Sequences whose inputs are chosen and quantized at once, before they enter a Gram matrix.
inline constexpr size_t kInputsAtOnce = 8;

// Statistics of the inputs of `columns` that the flows hold, as `input` has them seen. `expert`: of the tokens routed
// to it; -1: of all. `scratch` is kept for the next call, see ops::GramSum.
modifiers::Statistics input_statistics(const Activations& activations, int64_t columns, int expert,
                                       const LinearInput& input, at::Tensor& scratch);

// I: columns of the input.
class StageInputs {
 public:
  // `float_stream`: null if no weights are to make up for earlier layers. `moe_routed`: an expert's statistics are from
  // the tokens routed to it, not from all.
  StageInputs(const Run& run, Activations& activations, FloatStream* float_stream, bool moe_routed)
      : run_(run),
        activations_(activations),
        float_(float_stream),
        moe_routed_(moe_routed),
        release_([&](size_t row) { activations_.release(row); }) {}

  // Nothing is measured yet of this stage's inputs. Null: of what an end of the model reads.
  void begin(const model::Stage* stage);

  // How the task's scheme quantizes its input, multiplied with `transform` if there is one, with the scale that the
  // calibration set gives.
  std::optional<model::ActivationQuantization> quantization(const modifiers::LinearTask& task, int expert,
                                                            const std::shared_ptr<const ops::Transform>& transform);

  // The Gram matrix of the input as the linears will see it. `expert`: whose tokens count if that was asked
  // for and if there are enough of them to span its input, otherwise those of all experts do, with a warning; -1: all.
  modifiers::Statistics statistics(int64_t columns, int expert, const LinearInput& input, std::string& warning);

  // Whether what the linears should compute is known better than by their float weights.
  bool can_correct(const modifiers::Quantizer& quantizer, int expert) const;
  // Puts what the linears should compute on the inputs as they are now in the place of their weights; `statistics`
  // becomes those of the inputs.
  std::vector<solvers::CorrectedTarget> correct(const modifiers::Quantizer& quantizer, const LinearInput& input,
                                                std::vector<modifiers::LinearTask>& tasks,
                                                modifiers::Statistics& statistics);

  const Activations& activations() const { return activations_; }

  // `mean` as in column_statistics().
  modifiers::ColumnStatistics columns(bool mean) const;
  // Multiplies the inputs by factor_I (f32); `mlp` as in Activations. `after`: the statistics of the outcome, if known.
  void scale(const at::Tensor& factor_I, bool mlp, const modifiers::Statistics& after);

 private:
  modifiers::Statistics gram(int64_t columns, int expert, const LinearInput& input);

  const Run& run_;
  Activations& activations_;
  FloatStream* float_;
  const bool moe_routed_;
  const std::function<void(size_t)> release_;
  const model::Stage* stage_ = nullptr;
  modifiers::Statistics shared_;                        // of all tokens, for every group of the stage
  std::optional<scheme::QuantizationArgs> shared_for_;  // how the inputs were quantized that it describes
  std::shared_ptr<const ops::Transform> shared_with_;   // what they were multiplied with
  at::Tensor scratch_;
};

}  // namespace swage::pipeline
