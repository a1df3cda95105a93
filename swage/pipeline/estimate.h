// What a compression would take, without doing any of it: from config.json and, where they are there, the headers of
// the shards.
#pragma once
#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/checkpoint/reader.h"
#include "swage/job/compress_job.h"
#include "swage/plan/rates.h"

namespace swage::pipeline {

// The run that is estimated. Its source is a model's folder, with or without its weights, or a config.json; no text is
// read, so that rows are as many and as long as is asked for.
struct EstimateJob : CompressJob {
  Rates given;                 // rates that are not measured
  double measure_seconds = 2;  // at most, for the others; 0: nothing is measured, and time is estimated only with all
                               // given
};

// {"model_type", "parameters", "layers", "layer_parameters", "from", "plan", "rates", "warnings"}; of a run
// that will be model-free (see runs_model_free) no layers, and "model_free": true. Error(Io) if there is no
// config.json; Error(Unsupported) for an architecture whose sizes are not known, if data is needed or there are no
// shards; Error(CorruptData) naming a field that the config lacks; otherwise the errors of the run itself, whose recipe
// is checked against the model's modules.
Json run_estimate(const EstimateJob& job, const Context& context);
// The same of a source that is open, for a run that is not model-free.
Json run_estimate(const EstimateJob& job, const checkpoint::Reader& reader, const Context& context);
// The model as far as it is there: its shards' headers, or what its config makes.
checkpoint::Reader open_for_estimate(const EstimateJob& job, const Context& context);
bool estimates_model_free(const EstimateJob& job, const Context& context);

}  // namespace swage::pipeline
