// One prompt continued by the source and by the output: what perplexity does not show.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

#include "swage/base/context.h"
#include "swage/base/json.h"
#include "swage/checkpoint/reader.h"
#include "swage/model/model.h"

namespace swage::pipeline {

// Whether both models, held one after the other as they are stored, fit beside a process that was to take
// `planned_bytes` at its peak. Not so where weights are held in another form than they are stored in: quantized
// sources, and linears that share a tensor.
bool answers_fit(const model::Model& source, const Json& config, uint64_t source_bytes, uint64_t planned_bytes);

// {"prompt", "source", "output", "tokens"}: the first tokens of both answers, always the most likely one; the prompt
// goes through the chat template, if there is one. Null if the tokenizer of the source does not take the prompt.
Json compare_answers(const checkpoint::Reader& source, const std::filesystem::path& output,
                     const std::string& architecture, const Context& context);

}  // namespace swage::pipeline
