// A GGUF model as a Hugging Face checkpoint: its tensors by their names there, dequantized, config.json and tokenizer.
#pragma once
#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/convert/convert.h"

namespace swage::pipeline {

bool is_gguf(const std::filesystem::path& source);

// Plain weights of one type (job.dtype; without it the file's own, or f32 where it is quantized); others that it does
// not hold exactly, such as f32 norms, stay f32. One tensor is in memory at a time; all are read back and compared
// before the folder appears. As run_convert() for the rest.
Json import_gguf(const ConvertJob& job, const Context& context);

}  // namespace swage::pipeline
