// One prompt continued by the source and by the output: what perplexity does not show.
#pragma once
#include <filesystem>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/model/model.h"

namespace swage::pipeline {

// Whether the answers take little beside a run that calibrated on so many tokens: each token of an answer reads the
// whole model once.
bool answers_are_cheap(uint64_t source_bytes, int64_t calibration_tokens);

// {"prompt", "source", "output", "tokens"}: the first tokens of both answers, always the most likely one; the prompt
// goes through the chat template, if there is one. Blocks are loaded one at a time, so that it takes the memory of a
// block. Null if the tokenizer of `source_folder` does not take the prompt.
Json compare_answers(model::Model& source, const checkpoint::WeightSource& weights,
                     const std::filesystem::path& source_folder, const std::filesystem::path& output_folder,
                     const Context& context);

}  // namespace swage::pipeline
