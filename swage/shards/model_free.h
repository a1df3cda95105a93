// Model-free runs: from the shards alone, for any architecture. Tensors are taken in the order in which they lie on the
// disk, a chunk of rows at a time, on all threads; memory does not grow with the model. What may be quantized is told
// by names and shapes (model_free_modules.h).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/job/compress_job.h"
#include "swage/plan/plan.h"

namespace swage::pipeline {

// Whether config.json has a model_type that swage has a model of.
bool knows_architecture(const std::filesystem::path& source);

// Whether the job asks for it, or needs no data and is for an architecture that swage has no model of; `architecture`:
// the model_type that the user says, empty if none.
bool runs_model_free(const CompressJob& job, const std::string& architecture);

// What such a run will take. From the headers of the shards.
struct ModelFreePlan {
  Plan plan;
  std::string model_type;
  int64_t parameters = 0;  // numbers in all tensors
  std::vector<std::string> warnings;
};

// Errors of run_model_free(), but for the budget, which it does not look at.
ModelFreePlan plan_model_free(const CompressJob& job, const Context& context);

// Returns the report. Error(Unsupported) for modifiers and schemes that need calibration.
Json run_model_free(const CompressJob& job, const Context& context);

}  // namespace swage::pipeline
