// The grid that a scheme's words mean.
#pragma once
#include <ATen/core/ScalarType.h>

#include "swage/scheme/quantization.h"
#include "swage/solvers/grid.h"

namespace swage::observers {

// For values laid out as a matrix [rows, columns], one row an output (weights), a token (activations) or a head
// (attention), with scales stored as `stored_dtype` unless args name another type. Token and AttnHead: one scale a row.
// `whole_rows`: groups span all rows, as those of an activation's columns do. Error(Unsupported) for number types no
// grid has, Error(InvalidArgument) for missing sizes.
solvers::GridSpec grid_of(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype, bool whole_rows = false);

}  // namespace swage::observers
