// After writing: is what lies on disk what was computed, and does the model still work?
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/eval/questions.h"
#include "swage/job/run_progress.h"
#include "swage/model/model.h"
#include "swage/report/report.h"

namespace swage::pipeline {

// Reopens the folder and compares every quantized module's codes and scales with their fingerprints.
// Error(Internal) naming the first module that differs.
void check_files(const std::filesystem::path& folder, const std::vector<ModuleReport>& modules);

// Perplexity of source and output on windows_NL (int64), as JSON for the report. Error(Numerical) if the output's mean
// log likelihood is worse by more than `most_nats`. kCorruptionNats: no rounding of weights does that, a corrupted file
// does; pruning without calibration can make a model as bad as a corrupted one.
inline constexpr double kCorruptionNats = 2.5;
Json check_perplexity(model::Model& model, const checkpoint::WeightSource& source, const std::filesystem::path& folder,
                      const at::Tensor& windows_NL, const eval::Masking& masking, const Context& context,
                      double most_nats = kCorruptionNats);
// Whether a model has a perplexity to check: it predicts tokens, and its mask token is known if it needs one.
bool has_perplexity(const graph::ModelProgram& model, const eval::Masking& masking);

// `context` with progress of check_perplexity() told as that of the run: its two passes, over the source and the
// output, are the stage "check". Must not outlive its arguments.
Context told_of_checking(const Context& context, const RunProgress& progress, const StageClock& clock);

}  // namespace swage::pipeline
