// quantization_config of quant_method "fp8", as DeepSeek, Qwen and Mistral publish and transformers and AutoFP8 write
// it, and its kin "fbgemm_fp8": weights of F8_E4M3 under "weight_scale_inv" or "weight_scale", a float for a block, a
// row or the whole tensor, by which codes are multiplied.
#pragma once
#include <string_view>

#include "swage/base/json.h"
#include "swage/scheme/config_json.h"

namespace swage::scheme {

inline constexpr std::string_view kFp8Format = "fp8";  // of its schemes: how format/fp8_checkpoint.h reads them

bool is_fp8_method(const Json& quantization_config);
// One group for all linears: modules that are quantized are known by their scales, and what the config leaves out need
// not be told. Error(CorruptData) naming the key for values that make no sense, Error(Unsupported) for another kind of
// float.
QuantizationConfig parse_fp8_config(const Json& quantization_config);

}  // namespace swage::scheme
