// The pipeline for modifiers that need no calibration: module by module, straight from the source's tensors to the
// output.
#pragma once
#include "swage/schedule/run.h"

namespace swage::pipeline {

void run_data_free(const Run& run);

}  // namespace swage::pipeline
