#include "swage/pipeline/compress_checks.h"

#include <ATen/ops/max.h>

#include <algorithm>
#include <string_view>

#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/checkpoint/no_weights.h"
#include "swage/resolve/reader_names.h"

namespace swage::pipeline {

int64_t fitting_row(const std::filesystem::path& source, int64_t wanted, const Context& context) {
  if (wanted != PlanOptions().max_seq_length) return wanted;
  try {
    const std::filesystem::path config = std::filesystem::is_regular_file(source) ? source : source / "config.json";
    const int64_t positions =
        model::make_program(read_json_file(config), checkpoint::NoWeights(), context.architecture).max_positions;
    if (positions == 0 || positions >= wanted) return wanted;
    context.log(Severity::Info, cat("rows of ", positions, " tokens: the model takes no more"));
    return positions;
  } catch (const Error&) {
    return wanted;
  }
}

// Shapes as the config says, before anything is read.
void check_shapes(const checkpoint::Reader& reader, const checkpoint::WeightSource& weights,
                  const model::Model& model) {
  for (const io::TensorSpec& wanted : model.required_tensors()) {
    const std::vector<int64_t> found = weights.shape(wanted.name);
    const bool scalar = wanted.shape.empty() && reader.find(wanted.name) != nullptr;
    SWAGE_CHECK(scalar || !found.empty(), CorruptData, reader.folder().string(), ": tensor ", wanted.name,
                " is missing");
    SWAGE_CHECK(found == wanted.shape, CorruptData, reader.folder().string(), ": tensor ", wanted.name, " has shape ",
                io::shape_text(found), ", but config.json makes it ", io::shape_text(wanted.shape));
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

void ignore_side_modules(const checkpoint::Reader& reader, const model::Model& model, Assignment& assignment) {
  constexpr std::string_view kWeight = ".weight";
  const std::vector<std::string>& sides = model.program().side_modules;
  for (const io::TensorSpec& spec : reader.tensors()) {
    const bool matrix = spec.shape.size() == 2 && spec.name.ends_with(kWeight);
    const bool side =
        std::any_of(sides.begin(), sides.end(), [&](const std::string& begin) { return spec.name.starts_with(begin); });
    if (matrix && side) assignment.ignore.push_back(spec.name.substr(0, spec.name.size() - kWeight.size()));
  }
  assignment.ignore = with_names_of_readers(assignment.ignore, model.modules());
}

// A tokenizer of another model gives ids that have no embedding.
void check_vocabulary(const CompressJob& job, const Text& text, int64_t vocabulary_size) {
  for (const at::Tensor& ids : {text.ids_NL, text.windows_NL}) {
    if (!ids.defined()) continue;
    const int64_t most = ids.max().item<int64_t>();
    SWAGE_CHECK(most < vocabulary_size, CorruptData, job.source.string(), ": tokenizer.json gives token id ", most,
                ", but config.json's vocab_size is ", vocabulary_size);
  }
}

}  // namespace swage::pipeline
