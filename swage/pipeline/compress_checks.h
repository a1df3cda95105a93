// What is wrong with a model, its text or its recipe for a calibrated run, known before anything is computed.
#pragma once
#include <filesystem>

#include "swage/base/context.h"
#include "swage/checkpoint/reader.h"
#include "swage/checkpoint/weight_source.h"
#include "swage/job/compress_job.h"
#include "swage/job/text.h"
#include "swage/model/model.h"
#include "swage/resolve/assignment.h"

namespace swage::pipeline {

// Tokens of a row: `wanted`, or as many as the model takes if that is the default and too long for it, which is said.
// What is wrong with `source`, a folder or a config.json, is for those to say who read it for more.
int64_t fitting_row(const std::filesystem::path& source, int64_t wanted, const Context& context);
// Error(CorruptData) for a tensor that is missing, or of another shape than the config makes it.
void check_shapes(const checkpoint::Reader& reader, const checkpoint::WeightSource& weights, const model::Model& model);
// Error(CorruptData) for ids that have no embedding: the tokenizer is another model's.
void check_vocabulary(const CompressJob& job, const Text& text, int64_t vocabulary_size);
// assign_schemes(), whose errors name the recipe's file.
Assignment assign_schemes_of(const CompressJob& job, const model::Model& model, const Json& config);
// Readers take every linear for quantized that is not ignored: so those are named of which swage knows nothing but the
// name, a vision tower's.
void ignore_side_modules(const checkpoint::Reader& reader, const model::Model& model, Assignment& assignment);

}  // namespace swage::pipeline
