// What the .cu files give to the table of kernels.
#pragma once
#include "swage/kernels/cuda/device_kernels.h"

namespace swage::kernels::cuda {

const char* gptq_block(const GptqBlock& p, void* stream);
const char* search_scales(const ScaleSearchRows& p, void* stream);
const char* refine_block(const RefineBlock& p, void* stream);
const char* gram_add(const GramAdd& p, void* stream);
const char* dequantize(const DequantizeRows& p, void* stream);
const char* rms_norm(const RmsNormRows& p, void* stream);
const char* silu_multiply(const SiluMultiply& p, void* stream);
const char* rotate_heads(const RotateHeads& p, void* stream);

}  // namespace swage::kernels::cuda
