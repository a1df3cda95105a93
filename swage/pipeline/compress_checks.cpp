#include "swage/pipeline/compress_checks.h"

#include "swage/base/error.h"

namespace swage::pipeline {

// Shapes as the config says, before anything is read.
void check_shapes(const checkpoint::Reader& reader, const checkpoint::WeightSource& weights, const model::Model& model) {
  for (const io::TensorSpec& wanted : model.required_tensors()) {
    const std::vector<int64_t> found = weights.shape(wanted.name);
    SWAGE_CHECK(!found.empty(), CorruptData, reader.folder().string(), ": tensor ", wanted.name, " is missing");
    SWAGE_CHECK(found == wanted.shape, CorruptData, reader.folder().string(), ": tensor ", wanted.name, " has shape ", io::shape_text(found),
                ", but config.json makes it ", io::shape_text(wanted.shape));
  }
}

Assignment assign_schemes_of(const CompressJob& job, const model::Model& model, const Json& config) {
  try {
    return assign_schemes(job.chain, model, attention_class_of(config));
  } catch (Error& e) {
    if (!job.recipe_file.empty()) e.add_context(job.recipe_file);
    throw;
  }
}

}  // namespace swage::pipeline
