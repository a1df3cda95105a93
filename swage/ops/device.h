// The run's device as ATen's.
#pragma once
#include <ATen/core/Tensor.h>

#include "swage/base/context.h"

namespace swage::ops {

// Auto becomes the first GPU that libtorch finds, else the CPU. Error(Unsupported) for a GPU that is not there.
at::Device to_torch(Device device);

}  // namespace swage::ops
