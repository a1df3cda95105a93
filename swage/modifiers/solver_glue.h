// Between schemes and solvers: the grid a scheme means, the scale search a config asks for, and solved codes as stored weights.
#pragma once
#include <string>

#include "swage/modifiers/modifier.h"
#include "swage/solvers/grid.h"

namespace swage::modifiers {

// The grid of a weight's scheme for a weight whose scales are stored as `stored_dtype`.
// Error(Unsupported) for number types and strategies no solver has.
solvers::GridSpec grid_spec(const scheme::QuantizationArgs& args, at::ScalarType stored_dtype);
// Error(InvalidArgument) naming `source` for an unknown name.
solvers::ScaleSearch scale_search(const std::string& name, double norm, const std::string& source);
// Codes and grid as a weight to be stored.
format::QuantizedWeight to_stored(const at::Tensor& codes_OI, const solvers::Grid& grid);
// Fills `loss` and `relative_error`. w_OI f32; quantized_OI its values after quantization. gram_II: the statistics' Gram
// matrix as f32, undefined without calibration.
void measure_error(const at::Tensor& w_OI, const at::Tensor& quantized_OI, const at::Tensor& gram_II, int64_t tokens, SolvedLinear& out);

}  // namespace swage::modifiers
