// The table of the kernels as they are compiled for the host (host_threads.h).
#include "swage/kernels/cuda/table.h"

namespace swage::kernels {

const DeviceKernels& device_kernels_on_host() {
  static const DeviceKernels table{kDeviceKernelsVersion,
                                   cuda::gptq_block,
                                   cuda::search_scales,
                                   cuda::refine_block,
                                   cuda::gram_add,
                                   cuda::dequantize,
                                   cuda::rms_norm,
                                   cuda::silu_multiply,
                                   cuda::rotate_heads,
                                   nullptr,
                                   nullptr};
  return table;
}

}  // namespace swage::kernels
