// The run's text: rows to calibrate on, and windows kept apart for the check afterwards.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/base/json.h"
#include "swage/data/dataset.h"
#include "swage/job/compress_job.h"

namespace swage::pipeline {

struct Text {
  at::Tensor ids_NL;      // calibration rows; undefined for a run without calibration
  at::Tensor windows_NL;  // for the check; undefined without a data file
  bool held_out = false;  // the windows come from documents that calibration did not see
  int64_t documents_used = 0, documents_skipped = 0;

  Json to_json() const;
};

// Reads the job's data file with the source's tokenizer; reads neither if there is none. Error(InvalidArgument) if the run has to
// `calibrate` and none is given.
Text read_text(const CompressJob& job, bool calibrate, uint64_t seed);

}  // namespace swage::pipeline
