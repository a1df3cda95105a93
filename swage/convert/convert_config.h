// The configuration files of a converted checkpoint, as the libraries of its format write them.
#pragma once
#include "swage/checkpoint/writer.h"
#include "swage/convert/convert_plan.h"
#include "swage/resolve/source.h"

namespace swage::pipeline {

// config.json: the source's keys in their order, with the target's quantization_config, or without one when dense.
// quantize_config.json for gptq. The source's other files (tokenizer, templates, licence) are copied.
// Error(InvalidArgument) if one configuration cannot say what the modules need: several group sizes in awq.
void write_converted_files(const ConvertJob& job, const Source& source, const format::CheckpointWeights& weights,
                           const ConversionPlan& plan, checkpoint::Writer& writer);

}  // namespace swage::pipeline
