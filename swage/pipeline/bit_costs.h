// What the candidates of a bit budget cost: as an interrupted run of the same job has it, or measured, and kept block
// by block while that goes on.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/base/json.h"
#include "swage/checkpoint/output_folder.h"
#include "swage/job/compress_job.h"
#include "swage/resolve/bit_budget.h"
#include "swage/resolve/source.h"
#include "swage/schedule/bit_sensitivity.h"

namespace swage::pipeline {

// Of a run's identity: what follows from the costs, beside what they follow from.
inline constexpr const char *kBitCosts = "bit costs", *kOutputLayout = "output layout";

// `identity` is that of the run's input; ids_NL are calibration rows, int64. An interruption, or a failure of the
// machine, leaves in `folder` what was measured, any other error nothing.
BudgetCosts bit_costs(const CompressJob& job, const Source& source, const Json& identity, SensitivityJob measuring,
                      const at::Tensor& ids_NL, size_t probed, checkpoint::OutputFolder& folder);

}  // namespace swage::pipeline
